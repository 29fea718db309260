//! Prometheus's flags that mean nothing here, so that an existing command line starts, and says what it lost.
//!
//! A flag that promises protection is refused instead: a server without the password that its operator asked for must
//! not run. Source of the names: `cmd/prometheus/main.go`, Prometheus 3.14 and the 2.x flags that charts still pass.

/// A flag of Prometheus without a meaning here.
#[derive(Debug)]
pub struct Ignored {
    /// Its name without the dashes.
    pub name: &'static str,
    /// Is it followed by a value? Else it is on or off.
    pub takes_value: bool,
    /// What becomes of a command line that has it.
    pub effect: Effect,
}

/// What becomes of a command line with a flag of the table.
#[derive(Debug, Clone, Copy)]
pub enum Effect {
    /// It starts, with a warning that ends so.
    None(&'static str),
    /// It does not start, and says so.
    Refused(&'static str),
}

const fn value(name: &'static str, why: &'static str) -> Ignored {
    Ignored { name, takes_value: true, effect: Effect::None(why) }
}

const fn switch(name: &'static str, why: &'static str) -> Ignored {
    Ignored { name, takes_value: false, effect: Effect::None(why) }
}

const NO_SCRAPES: &str = "nothing is scraped here; samples come by remote_write";
const NO_AUTO_RELOAD: &str =
    "the configuration file is read again on SIGHUP, and by /-/reload with --web.enable-lifecycle";
const NO_GO: &str = "it tunes the Go runtime, and this is not a Go program";
const NO_UI: &str = "there is no web interface yet";
const NO_RULES: &str = "rules are not evaluated here";
const NO_ALERTS: &str = "alerts are not sent from here";
const NO_ADMIN: &str = "there is no such API yet";
const OWN_FORMAT: &str = "it tunes a file format that this server does not write";
const OWN_CUTS: &str = "where chunks and their files end is not to be chosen here";
const OVERLAPS: &str = "blocks may overlap, and those that do are always compacted";
const NO_DELAY: &str = "compaction is not put off";

const TABLE: &[Ignored] = &[
    switch("config.auto-reload", NO_AUTO_RELOAD),
    value("config.auto-reload-interval", NO_AUTO_RELOAD),
    switch("auto-gomaxprocs", NO_GO),
    switch("auto-gomemlimit", NO_GO),
    value("auto-gomemlimit.ratio", NO_GO),
    value("auto-gomemlimit.refresh-interval", NO_GO),
    Ignored {
        name: "web.config.file",
        takes_value: true,
        effect: Effect::Refused(
            "TLS and passwords are not served yet, and the file asks for them; \
             put a proxy that does both in front, and leave the flag out",
        ),
    },
    switch("web.enable-otlp-receiver", "OTLP is not received yet; send remote_write"),
    value("web.remote-write-receiver.accepted-protobuf-messages", "both messages are accepted"),
    value("web.max-notifications-subscribers", NO_UI),
    value("web.user-assets", NO_UI),
    value("web.console.templates", NO_UI),
    value("web.console.libraries", NO_UI),
    value("web.search.max-limit", NO_ADMIN),
    switch("storage.tsdb.no-lockfile", "the data directory is always locked"),
    switch("storage.tsdb.allow-overlapping-blocks", OVERLAPS),
    switch("storage.tsdb.allow-overlapping-compaction", OVERLAPS),
    switch("storage.tsdb.wal-compression", OWN_FORMAT),
    value("storage.tsdb.wal-compression-type", OWN_FORMAT),
    value("storage.tsdb.wal-segment-size", OWN_FORMAT),
    value("storage.tsdb.head-chunks-write-queue-size", OWN_FORMAT),
    value("storage.tsdb.samples-per-chunk", OWN_CUTS),
    value("storage.tsdb.max-block-chunk-segment-size", OWN_CUTS),
    value(
        "storage.tsdb.block-reload-interval",
        "blocks are changed by this server alone, which knows when it does",
    ),
    value("storage.tsdb.delay-compact-file.path", NO_DELAY),
    value("storage.tsdb.delayed-compaction.max-percent", NO_DELAY),
    value("storage.remote.flush-deadline", "nothing is forwarded from here"),
    value("rules.alert.for-outage-tolerance", NO_RULES),
    value("rules.alert.for-grace-period", NO_RULES),
    value("rules.alert.resend-delay", NO_RULES),
    value("rules.max-concurrent-evals", NO_RULES),
    value("alertmanager.timeout", NO_ALERTS),
    value("alertmanager.notification-queue-capacity", NO_ALERTS),
    value("alertmanager.notification-batch-size", NO_ALERTS),
    switch("alertmanager.drain-notification-queue-on-shutdown", NO_ALERTS),
    value("scrape.adjust-timestamps", NO_SCRAPES),
    value("scrape.timestamp-tolerance", NO_SCRAPES),
    value("scrape.discovery-reload-interval", NO_SCRAPES),
];

/// The flag of that name, if Prometheus has it and it means nothing here.
#[must_use]
pub fn find(name: &str) -> Option<&'static Ignored> {
    TABLE.iter().find(|flag| flag.name == name)
}

/// Likewise, if it is on or off.
#[must_use]
pub fn find_switch(name: &str) -> Option<&'static Ignored> {
    find(name).filter(|flag| !flag.takes_value)
}
