//! Keys of Prometheus that mean nothing here: what each would be, and why it has no effect.

use super::section::Kind;

/// A section without a meaning here; what stands in it is not looked at.
pub struct Section {
    /// Its key.
    pub key: &'static str,
    /// Why it has no effect.
    pub why: &'static str,
}

/// A key of `global` without a meaning here; its value has to be of its kind all the same.
pub struct Key {
    /// The key.
    pub key: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// Why it has no effect.
    pub why: &'static str,
}

const NO_SCRAPES: &str = "nothing is scraped here; samples come by remote_write";
const NO_RULES: &str = "rules are not evaluated here";

/// Sections of the top level.
pub const SECTIONS: [Section; 9] = [
    Section { key: "runtime", why: "it tunes the Go runtime, and this is not a Go program" },
    Section { key: "alerting", why: "alerts are not sent from here" },
    Section { key: "rule_files", why: NO_RULES },
    Section { key: "scrape_config_files", why: NO_SCRAPES },
    Section { key: "scrape_configs", why: NO_SCRAPES },
    Section { key: "tracing", why: "no traces are sent from here" },
    Section { key: "remote_write", why: "nothing is forwarded from here" },
    Section { key: "remote_read", why: "queries are answered from this server's own data alone" },
    Section { key: "otlp", why: "OTLP is not received yet; send remote_write" },
];

const fn scrapes(key: &'static str, kind: Kind) -> Key {
    Key { key, kind, why: NO_SCRAPES }
}

const fn rules(key: &'static str, kind: Kind) -> Key {
    Key { key, kind, why: NO_RULES }
}

/// Keys of `global`.
pub const GLOBAL: [Key; 19] = [
    scrapes("scrape_interval", Kind::Duration),
    scrapes("scrape_timeout", Kind::Duration),
    scrapes("scrape_protocols", Kind::Texts),
    rules("evaluation_interval", Kind::Duration),
    rules("rule_query_offset", Kind::Duration),
    Key { key: "query_log_file", kind: Kind::Text, why: "queries are not logged to a file yet" },
    scrapes("scrape_failure_log_file", Kind::Text),
    scrapes("body_size_limit", Kind::Size),
    scrapes("sample_limit", Kind::Count),
    scrapes("target_limit", Kind::Count),
    scrapes("label_limit", Kind::Count),
    scrapes("label_name_length_limit", Kind::Count),
    scrapes("label_value_length_limit", Kind::Count),
    scrapes("keep_dropped_targets", Kind::Count),
    scrapes("metric_name_escaping_scheme", Kind::Text),
    scrapes("scrape_native_histograms", Kind::Truth),
    scrapes("convert_classic_histograms_to_nhcb", Kind::Truth),
    scrapes("always_scrape_classic_histograms", Kind::Truth),
    scrapes("extra_scrape_metrics", Kind::Truth),
];
