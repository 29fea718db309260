//! What one host exports: the metric families of a few application pods, a node_exporter and a cAdvisor, as data.
//!
//! Names, labels and types are those that the three exporters give their series; counts are those of a middling
//! machine (8 CPUs, 3 disks, 4 interfaces, 10 containers). A host has the same targets in the same order as every
//! other, so that a series' number alone says which host, target and family it belongs to.
//!
//! Changing anything here changes which series a seed means. [`super::Population::checksum`] notices, and a ledger
//! written before is refused after.

/// A label whose values are spelled out; `*` in a value stands for five letters that differ from pod to pod.
pub enum Axis {
    /// One label and the values that it takes.
    One(&'static str, &'static [&'static str]),
    /// Several labels that go together.
    Sets(&'static [&'static [(&'static str, &'static str)]]),
}

/// The course that a family's values take; `shape` turns it and a seed into numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// Always 0, as most error counters are.
    Zero,
    /// Always 1: info metrics and `up`.
    One,
    /// An integer that never changes: limits, sizes, start times.
    Constant,
    /// A counter of events.
    Events,
    /// A counter that moves every few minutes.
    Rare,
    /// A counter of seconds with two decimals.
    Seconds,
    /// A counter of bytes.
    Bytes,
    /// A size in bytes, in whole pages.
    Pages,
    /// A small integer that goes up and down.
    Level,
    /// A measurement with two decimals.
    Measure,
}

/// The types that remote write 2.0 metadata knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricType {
    /// 1 on the wire.
    Counter,
    /// 2 on the wire.
    Gauge,
    /// 3 on the wire.
    Histogram,
}

/// One metric family.
pub struct Family {
    /// The metric's name, without `_bucket`, `_sum` and `_count`.
    pub name: &'static str,
    /// The `# HELP` line.
    pub help: &'static str,
    /// How its values move; a histogram has none of its own.
    pub course: Option<Course>,
    /// The labels beside the target's; every combination is a series.
    pub axes: &'static [Axis],
    /// The upper bounds of the buckets; empty unless this is a histogram.
    pub bounds: &'static [&'static str],
}

impl Family {
    /// The family's type.
    pub fn metric_type(&self) -> MetricType {
        match self.course {
            None => MetricType::Histogram,
            Some(Events | Rare | Seconds | Bytes) => MetricType::Counter,
            Some(Zero) if self.name.ends_with("_total") => MetricType::Counter,
            Some(_) => MetricType::Gauge,
        }
    }
}

/// One thing that is scraped.
pub struct Target {
    /// First part of the `instance` label.
    pub machine: &'static str,
    /// Last part of the `instance` label.
    pub port: u16,
    /// Labels of the target itself beside `cluster` and `instance`; `*` as in [`Axis`].
    pub labels: &'static [(&'static str, &'static str)],
    /// What it exports.
    pub families: &'static [&'static [Family]],
}

const fn family(
    name: &'static str,
    help: &'static str,
    course: Course,
    axes: &'static [Axis],
) -> Family {
    Family { name, help, course: Some(course), axes, bounds: &[] }
}

const fn histogram(
    name: &'static str,
    help: &'static str,
    axes: &'static [Axis],
    bounds: &'static [&'static str],
) -> Family {
    Family { name, help, course: None, axes, bounds }
}

/// What a host runs, in the order in which its series are numbered.
pub const HOST: &[Target] = &[
    Target {
        machine: "checkout",
        port: 8080,
        labels: &[("job", "shop/checkout"), ("pod", "checkout-7c9d8f6b5-*")],
        families: &[HTTP_SERVER, RUNTIME, SCRAPE],
    },
    Target {
        machine: "node",
        port: 9100,
        labels: &[("job", "node-exporter"), ("region", "eu-west-1")],
        families: &[NODE, NODE_MEMORY, NODE_NETWORK, NODE_KERNEL, RUNTIME, SCRAPE],
    },
    Target {
        machine: "catalogue",
        port: 8080,
        labels: &[("job", "shop/catalogue"), ("pod", "catalogue-5d8f9c7b4-*")],
        families: &[RPC_SERVER, RUNTIME, SCRAPE],
    },
    Target {
        machine: "kubelet",
        port: 10250,
        labels: &[("job", "cadvisor")],
        families: &[CADVISOR, SCRAPE],
    },
];

use Axis::{One, Sets};
use Course::{Bytes, Constant, Events, Level, Measure, Pages, Rare, Seconds, Zero};

const HANDLERS: Axis = One(
    "handler",
    &["/api/v1/cart", "/api/v1/orders", "/api/v1/orders/:id", "/api/v1/payment", "/healthz"],
);
const METHODS_AND_CODES: Axis = Sets(&[
    &[("code", "200"), ("method", "GET")],
    &[("code", "200"), ("method", "POST")],
    &[("code", "404"), ("method", "GET")],
]);
const LATENCY_BOUNDS: &[&str] =
    &["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1.0", "2.5", "5.0", "10.0", "+Inf"];
const SIZE_BOUNDS: &[&str] = &["100", "1000", "10000", "100000", "1e+06", "1e+07", "+Inf"];

const HTTP_SERVER: &[Family] = &[
    histogram(
        "http_request_duration_seconds",
        "Time to answer a request, by handler, method and status code.",
        &[HANDLERS, METHODS_AND_CODES],
        LATENCY_BOUNDS,
    ),
    family(
        "http_requests_total",
        "Requests answered, by handler, method and status code.",
        Events,
        &[HANDLERS, METHODS_AND_CODES],
    ),
    family("http_requests_in_flight", "Requests being answered.", Level, &[HANDLERS]),
    histogram("http_response_size_bytes", "Size of the answers.", &[HANDLERS], SIZE_BOUNDS),
];

const RPC_METHODS: Axis = One("grpc_method", &["Get", "List", "Put", "Search", "Watch"]);
const RPC_SERVICE: Axis = Sets(&[&[("grpc_service", "shop.v1.Catalogue"), ("grpc_type", "unary")]]);
const RPC_CODES: Axis = One("grpc_code", &["Canceled", "Internal", "NotFound", "OK"]);

const RPC_SERVER: &[Family] = &[
    family(
        "grpc_server_handled_total",
        "Calls completed on the server, regardless of success or failure.",
        Events,
        &[RPC_CODES, RPC_METHODS, RPC_SERVICE],
    ),
    histogram(
        "grpc_server_handling_seconds",
        "Time from a call's arrival until the server had answered it.",
        &[RPC_METHODS, RPC_SERVICE],
        LATENCY_BOUNDS,
    ),
    family("db_pool_connections", "Connections of the pool, by state.", Level, &[DB_STATES]),
    family("db_pool_wait_seconds_total", "Time spent waiting for a connection.", Seconds, &[]),
];
const DB_STATES: Axis = One("state", &["idle", "open", "used"]);

const RUNTIME: &[Family] = &[
    family("process_cpu_seconds_total", "User and system CPU time.", Seconds, &[]),
    family("process_open_fds", "Open file descriptors.", Level, &[]),
    family("process_max_fds", "Limit of open file descriptors.", Constant, &[]),
    family("process_resident_memory_bytes", "Resident memory.", Pages, &[]),
    family("process_virtual_memory_bytes", "Virtual memory.", Pages, &[]),
    family("process_start_time_seconds", "Start time since the epoch.", Constant, &[]),
    family("go_goroutines", "Goroutines that exist.", Level, &[]),
    family("go_threads", "Threads created.", Constant, &[]),
    family("go_memstats_alloc_bytes", "Bytes allocated and in use.", Pages, &[]),
    family("go_memstats_alloc_bytes_total", "Bytes allocated, freed ones too.", Bytes, &[]),
    family("go_memstats_heap_inuse_bytes", "Heap bytes in use.", Pages, &[]),
    family("go_memstats_mallocs_total", "Allocations.", Events, &[]),
    family("go_memstats_next_gc_bytes", "Heap size of the next collection.", Pages, &[]),
    family("go_gc_duration_seconds_sum", "Time in collections.", Seconds, &[]),
    family("go_gc_duration_seconds_count", "Collections.", Rare, &[]),
    family("go_info", "Version of Go.", Course::One, &[One("version", &["go1.26.2"])]),
];

const SCRAPE: &[Family] = &[
    family("up", "The target answered its last scrape.", Course::One, &[]),
    family("scrape_duration_seconds", "Duration of the scrape.", Measure, &[]),
    family("scrape_samples_scraped", "Samples the target exposed.", Constant, &[]),
    family("scrape_series_added", "New series of this scrape.", Zero, &[]),
];

const CPUS: Axis = One("cpu", &["0", "1", "2", "3", "4", "5", "6", "7"]);
const CPU_MODES: Axis =
    One("mode", &["idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user"]);
const DISKS: Axis = One("device", &["nvme0n1", "nvme1n1", "sda"]);
const MOUNTS: Axis = Sets(&[
    &[("device", "/dev/nvme0n1p1"), ("fstype", "ext4"), ("mountpoint", "/")],
    &[("device", "/dev/nvme1n1"), ("fstype", "xfs"), ("mountpoint", "/var/lib/containerd")],
    &[("device", "/dev/sda1"), ("fstype", "vfat"), ("mountpoint", "/boot/efi")],
    &[("device", "tmpfs"), ("fstype", "tmpfs"), ("mountpoint", "/run")],
]);
const INTERFACES: Axis = One("device", &["cni0", "eth0", "flannel.1", "lo"]);

const NODE: &[Family] = &[
    family("node_cpu_seconds_total", "Seconds in each mode.", Seconds, &[CPUS, CPU_MODES]),
    family(
        "node_cpu_guest_seconds_total",
        "Seconds spent in guests.",
        Zero,
        &[CPUS, One("mode", &["nice", "user"])],
    ),
    family("node_schedstat_running_seconds_total", "Seconds running.", Seconds, &[CPUS]),
    family("node_schedstat_waiting_seconds_total", "Seconds waiting.", Seconds, &[CPUS]),
    family("node_disk_io_now", "I/Os in progress.", Level, &[DISKS]),
    family("node_disk_io_time_seconds_total", "Seconds doing I/O.", Seconds, &[DISKS]),
    family("node_disk_read_bytes_total", "Bytes read.", Bytes, &[DISKS]),
    family("node_disk_reads_completed_total", "Reads completed.", Events, &[DISKS]),
    family("node_disk_read_time_seconds_total", "Seconds of reads.", Seconds, &[DISKS]),
    family("node_disk_written_bytes_total", "Bytes written.", Bytes, &[DISKS]),
    family("node_disk_writes_completed_total", "Writes completed.", Events, &[DISKS]),
    family("node_disk_write_time_seconds_total", "Seconds of writes.", Seconds, &[DISKS]),
    family("node_disk_discards_completed_total", "Discards completed.", Zero, &[DISKS]),
    family("node_filesystem_avail_bytes", "Space for users.", Pages, &[MOUNTS]),
    family("node_filesystem_free_bytes", "Free space.", Pages, &[MOUNTS]),
    family("node_filesystem_size_bytes", "Size.", Constant, &[MOUNTS]),
    family("node_filesystem_files", "File nodes.", Constant, &[MOUNTS]),
    family("node_filesystem_files_free", "Free file nodes.", Level, &[MOUNTS]),
    family("node_filesystem_readonly", "Mounted read-only.", Zero, &[MOUNTS]),
    family("node_filesystem_device_error", "Could not be asked.", Zero, &[MOUNTS]),
];

const NODE_MEMORY: &[Family] = &[
    family("node_memory_MemTotal_bytes", "Memory information field MemTotal.", Constant, &[]),
    family("node_memory_MemFree_bytes", "Memory information field MemFree.", Pages, &[]),
    family("node_memory_MemAvailable_bytes", "Memory information field.", Pages, &[]),
    family("node_memory_Buffers_bytes", "Memory information field Buffers.", Pages, &[]),
    family("node_memory_Cached_bytes", "Memory information field Cached.", Pages, &[]),
    family("node_memory_Active_bytes", "Memory information field Active.", Pages, &[]),
    family("node_memory_Inactive_bytes", "Memory information field Inactive.", Pages, &[]),
    family("node_memory_AnonPages_bytes", "Memory information field AnonPages.", Pages, &[]),
    family("node_memory_Mapped_bytes", "Memory information field Mapped.", Pages, &[]),
    family("node_memory_Shmem_bytes", "Memory information field Shmem.", Pages, &[]),
    family("node_memory_Slab_bytes", "Memory information field Slab.", Pages, &[]),
    family("node_memory_SReclaimable_bytes", "Memory information field.", Pages, &[]),
    family("node_memory_Dirty_bytes", "Memory information field Dirty.", Pages, &[]),
    family("node_memory_Writeback_bytes", "Memory information field Writeback.", Zero, &[]),
    family("node_memory_SwapTotal_bytes", "Memory information field SwapTotal.", Zero, &[]),
    family("node_memory_SwapFree_bytes", "Memory information field SwapFree.", Zero, &[]),
    family("node_memory_HugePages_Total", "Memory information field.", Zero, &[]),
    family("node_memory_Hugepagesize_bytes", "Memory information field.", Constant, &[]),
    family("node_memory_CommitLimit_bytes", "Memory information field.", Constant, &[]),
    family("node_memory_Committed_AS_bytes", "Memory information field.", Pages, &[]),
];

const NODE_NETWORK: &[Family] = &[
    family("node_network_receive_bytes_total", "Bytes received.", Bytes, &[INTERFACES]),
    family("node_network_receive_packets_total", "Packets received.", Events, &[INTERFACES]),
    family("node_network_receive_errs_total", "Receive errors.", Zero, &[INTERFACES]),
    family("node_network_receive_drop_total", "Dropped on receipt.", Rare, &[INTERFACES]),
    family("node_network_receive_multicast_total", "Multicasts.", Zero, &[INTERFACES]),
    family("node_network_transmit_bytes_total", "Bytes sent.", Bytes, &[INTERFACES]),
    family("node_network_transmit_packets_total", "Packets sent.", Events, &[INTERFACES]),
    family("node_network_transmit_errs_total", "Transmit errors.", Zero, &[INTERFACES]),
    family("node_network_transmit_drop_total", "Dropped on sending.", Zero, &[INTERFACES]),
    family("node_network_transmit_colls_total", "Collisions.", Zero, &[INTERFACES]),
    family("node_network_up", "Operational state is up.", Course::One, &[INTERFACES]),
    family("node_network_mtu_bytes", "Largest packet.", Constant, &[INTERFACES]),
    family("node_network_speed_bytes", "Speed of the link.", Constant, &[INTERFACES]),
    family("node_network_carrier_changes_total", "Carrier changes.", Constant, &[INTERFACES]),
];

const COLLECTORS: Axis = One(
    "collector",
    &[
        "cpu",
        "diskstats",
        "filefd",
        "filesystem",
        "loadavg",
        "meminfo",
        "netdev",
        "netstat",
        "pressure",
        "sockstat",
        "softnet",
        "stat",
        "time",
        "uname",
        "vmstat",
    ],
);

const NODE_KERNEL: &[Family] = &[
    family("node_load1", "1m load average.", Measure, &[]),
    family("node_load5", "5m load average.", Measure, &[]),
    family("node_load15", "15m load average.", Measure, &[]),
    family("node_boot_time_seconds", "Boot time since the epoch.", Constant, &[]),
    family("node_context_switches_total", "Context switches.", Events, &[]),
    family("node_forks_total", "Forks.", Events, &[]),
    family("node_intr_total", "Interrupts serviced.", Events, &[]),
    family("node_procs_running", "Processes that can run.", Level, &[]),
    family("node_procs_blocked", "Processes that wait for I/O.", Zero, &[]),
    family("node_filefd_allocated", "Open files of the whole host.", Level, &[]),
    family("node_filefd_maximum", "Limit of open files.", Constant, &[]),
    family("node_netstat_Tcp_ActiveOpens", "Statistic TcpActiveOpens.", Events, &[]),
    family("node_netstat_Tcp_CurrEstab", "Statistic TcpCurrEstab.", Level, &[]),
    family("node_netstat_Tcp_InSegs", "Statistic TcpInSegs.", Events, &[]),
    family("node_netstat_Tcp_OutSegs", "Statistic TcpOutSegs.", Events, &[]),
    family("node_netstat_Tcp_RetransSegs", "Statistic TcpRetransSegs.", Rare, &[]),
    family("node_netstat_Udp_InDatagrams", "Statistic UdpInDatagrams.", Events, &[]),
    family("node_sockstat_TCP_alloc", "TCP sockets allocated.", Level, &[]),
    family("node_sockstat_TCP_tw", "TCP sockets in TIME_WAIT.", Level, &[]),
    family("node_softnet_processed_total", "Packets processed.", Events, &[CPUS]),
    family("node_softnet_dropped_total", "Packets dropped.", Zero, &[CPUS]),
    family("node_vmstat_pgfault", "Field pgfault of /proc/vmstat.", Events, &[]),
    family("node_vmstat_pgmajfault", "Field pgmajfault of /proc/vmstat.", Rare, &[]),
    family("node_vmstat_pgpgin", "Field pgpgin of /proc/vmstat.", Events, &[]),
    family("node_vmstat_pgpgout", "Field pgpgout of /proc/vmstat.", Events, &[]),
    family("node_pressure_cpu_waiting_seconds_total", "Waiting for CPU.", Seconds, &[]),
    family("node_pressure_io_waiting_seconds_total", "Waiting for I/O.", Seconds, &[]),
    family("node_scrape_collector_duration_seconds", "Duration.", Measure, &[COLLECTORS]),
    family("node_scrape_collector_success", "It succeeded.", Course::One, &[COLLECTORS]),
];

const CONTAINERS: Axis = Sets(&[
    &[("container", "checkout"), ("namespace", "shop"), ("pod", "checkout-7c9d8f6b5-*")],
    &[("container", "envoy"), ("namespace", "shop"), ("pod", "checkout-7c9d8f6b5-*")],
    &[("container", "catalogue"), ("namespace", "shop"), ("pod", "catalogue-5d8f9c7b4-*")],
    &[("container", "envoy"), ("namespace", "shop"), ("pod", "catalogue-5d8f9c7b4-*")],
    &[("container", "worker"), ("namespace", "billing"), ("pod", "invoices-66b4f7d9c-*")],
    &[("container", "redis"), ("namespace", "billing"), ("pod", "redis-0")],
    &[("container", "coredns"), ("namespace", "kube-system"), ("pod", "coredns-565d847f94-*")],
    &[("container", "kube-proxy"), ("namespace", "kube-system"), ("pod", "kube-proxy-*")],
    &[("container", "node-exporter"), ("namespace", "monitoring"), ("pod", "node-exporter-*")],
    &[("container", "agent"), ("namespace", "monitoring"), ("pod", "agent-*")],
]);

const CADVISOR: &[Family] = &[
    family("container_cpu_usage_seconds_total", "CPU time.", Seconds, &[CONTAINERS]),
    family("container_cpu_user_seconds_total", "User CPU time.", Seconds, &[CONTAINERS]),
    family("container_cpu_system_seconds_total", "System CPU time.", Seconds, &[CONTAINERS]),
    family("container_cpu_cfs_periods_total", "Enforcement periods.", Events, &[CONTAINERS]),
    family("container_cpu_cfs_throttled_periods_total", "Throttled.", Rare, &[CONTAINERS]),
    family("container_memory_usage_bytes", "Memory in use.", Pages, &[CONTAINERS]),
    family("container_memory_working_set_bytes", "Working set.", Pages, &[CONTAINERS]),
    family("container_memory_rss", "Resident memory.", Pages, &[CONTAINERS]),
    family("container_memory_cache", "Page cache.", Pages, &[CONTAINERS]),
    family("container_memory_swap", "Swap in use.", Zero, &[CONTAINERS]),
    family("container_memory_failcnt", "Limit hits.", Zero, &[CONTAINERS]),
    family("container_fs_reads_bytes_total", "Bytes read.", Bytes, &[CONTAINERS]),
    family("container_fs_writes_bytes_total", "Bytes written.", Bytes, &[CONTAINERS]),
    family("container_network_receive_bytes_total", "Bytes received.", Bytes, &[CONTAINERS]),
    family("container_network_transmit_bytes_total", "Bytes sent.", Bytes, &[CONTAINERS]),
    family("container_network_receive_errors_total", "Errors.", Zero, &[CONTAINERS]),
    family("container_processes", "Processes inside.", Constant, &[CONTAINERS]),
    family("container_threads", "Threads inside.", Level, &[CONTAINERS]),
    family("container_start_time_seconds", "Start time.", Constant, &[CONTAINERS]),
    family("container_spec_memory_limit_bytes", "Memory limit.", Constant, &[CONTAINERS]),
    family("container_spec_cpu_quota", "CPU quota.", Constant, &[CONTAINERS]),
];
