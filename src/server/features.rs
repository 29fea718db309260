//! `/api/v1/features`: what this server can do, by the names that Prometheus has for it.
//!
//! What Prometheus has and this server does not is `false`, so that a client need not know both. Of functions, operators and
//! words of the language the parser's own tables are asked. `status/buildinfo` has none of this: Grafana would take a server
//! whose build information has features for Mimir. Source: `util/features`, `promql/parser/features.go`, Prometheus 3.14.

use std::collections::BTreeMap;

use super::cli::Features;
use super::json::text;
use super::reply::{self, Reply};
use super::settings::Settings;
use crate::query::ast::{AggregateOp, BinaryOp};
use crate::query::function_table;

/// Names and whether they are there, by their category.
type Categories = BTreeMap<&'static str, BTreeMap<&'static str, bool>>;

/// `features`.
#[must_use]
pub fn features(settings: &Settings) -> Reply {
    let categories = categories(settings);
    reply::success(|out| {
        // Not `text::string`: operators such as `>=` are not escaped here, as upstream has it.
        let begin = |out: &mut Vec<u8>, first: &mut bool| {
            out.push(if std::mem::take(first) { b'{' } else { b',' });
        };
        let mut first = true;
        for (category, features) in &categories {
            begin(out, &mut first);
            text::label(out, category);
            out.push(b':');
            let mut first = true;
            for (feature, there) in features {
                begin(out, &mut first);
                text::label(out, feature);
                out.extend_from_slice(if *there { b":true" } else { b":false" });
            }
            out.push(b'}');
        }
        out.push(b'}');
    })
}

fn categories(settings: &Settings) -> Categories {
    let Features { parse, delayed_name_removal, per_step_stats, type_and_unit_labels, .. } =
        settings.features;
    let mut functions = BTreeMap::new();
    for function in function_table::TABLE {
        functions.insert(function.name, !function.experimental || parse.experimental_functions);
    }
    let mut operators: BTreeMap<&'static str, bool> =
        ["=~", "!~", "@"].into_iter().map(|name| (name, true)).collect();
    operators.extend(OPERATORS.iter().map(|op| (op.name(), true)));
    operators.extend(
        AGGREGATIONS
            .iter()
            .map(|op| (op.name(), !op.is_experimental() || parse.experimental_functions)),
    );
    let promql = [
        ("anchored", parse.extended_range_selectors),
        ("at_modifier", true),
        ("bool", true),
        ("by", true),
        ("delayed_name_removal", delayed_name_removal),
        ("duration_expr", true),
        ("fill", parse.binop_fill_modifiers),
        ("fill_left", parse.binop_fill_modifiers),
        ("fill_right", parse.binop_fill_modifiers),
        ("group_left", true),
        ("group_right", true),
        ("ignoring", true),
        ("negative_offset", true),
        ("offset", true),
        ("on", true),
        ("per_query_lookback_delta", true),
        ("per_step_stats", per_step_stats),
        ("smoothed", parse.extended_range_selectors),
        ("subqueries", true),
        ("type_and_unit_labels", type_and_unit_labels),
        ("without", true),
    ];
    let api = [
        ("admin", settings.admin_api),
        ("exclude_alerts", true),
        ("label_values_match", true),
        ("lifecycle", settings.lifecycle),
        ("openapi_3.1", false),
        ("openapi_3.2", false),
        ("otlp_write_receiver", false),
        ("query_stats", true),
        ("query_warnings", true),
        ("remote_write_receiver", settings.receives_remote_write),
        ("search", false),
        ("time_range_labels", true),
        ("time_range_series", true),
    ];
    let tsdb = [
        ("delayed_compaction", false),
        ("exemplar_storage", settings.current.in_force().storage.exemplars_max > 0),
        ("histograms_st_encoding", false),
        ("isolation", true),
        ("native_histograms", true),
        ("st_storage", true),
        ("use_uncached_io", true),
        ("xor2_encoding", true),
    ];
    [
        ("api", api.into_iter().collect()),
        ("otlp_receiver", [("delta_conversion", false), ("native_delta_ingestion", false)].into()),
        (
            "prometheus",
            [("agent_mode", false), ("auto_reload_config", false), ("server_mode", true)].into(),
        ),
        ("promql", promql.into_iter().collect()),
        ("promql_functions", functions),
        ("promql_operators", operators),
        (
            "rules",
            [("concurrent_rule_eval", false), ("keep_firing_for", false), ("query_offset", false)]
                .into(),
        ),
        ("tsdb", tsdb.into_iter().collect()),
        ("ui", [("ui_v2", false), ("ui_v3", false)].into()),
    ]
    .into()
}

const OPERATORS: [BinaryOp; 18] = [
    BinaryOp::Add,
    BinaryOp::Sub,
    BinaryOp::Mul,
    BinaryOp::Div,
    BinaryOp::Mod,
    BinaryOp::Pow,
    BinaryOp::Atan2,
    BinaryOp::Eq,
    BinaryOp::Ne,
    BinaryOp::Gt,
    BinaryOp::Lt,
    BinaryOp::Ge,
    BinaryOp::Le,
    BinaryOp::And,
    BinaryOp::Or,
    BinaryOp::Unless,
    BinaryOp::TrimUpper,
    BinaryOp::TrimLower,
];

const AGGREGATIONS: [AggregateOp; 14] = [
    AggregateOp::Sum,
    AggregateOp::Avg,
    AggregateOp::Count,
    AggregateOp::Min,
    AggregateOp::Max,
    AggregateOp::Group,
    AggregateOp::Stddev,
    AggregateOp::Stdvar,
    AggregateOp::Topk,
    AggregateOp::Bottomk,
    AggregateOp::CountValues,
    AggregateOp::Quantile,
    AggregateOp::Limitk,
    AggregateOp::LimitRatio,
];

#[cfg(test)]
mod tests {
    use crate::rt::executor::testing::on_one_shard;
    use crate::server::testing::{FakeStore, ask, get, server};

    #[test]
    fn the_flags_say_which_of_the_language_are_there() {
        on_one_shard(|_| async {
            for (flags, there) in
                [("", false), ("--enable-feature=promql-experimental-functions", true)]
            {
                let server = server(&FakeStore::new(), flags);
                let answered = ask(&server, get("/api/v1/features")).await;
                assert!(answered.body.contains(r#""</":true"#), "{}", answered.body);
                let json: serde_json::Value = serde_json::from_str(&answered.body).unwrap();
                let data = &json["data"];
                assert_eq!(data["promql_functions"]["rate"], true);
                assert_eq!(data["promql_functions"]["mad_over_time"], there);
                assert_eq!(data["promql_operators"]["limitk"], there);
                assert_eq!(data["promql_operators"][">="], true);
                assert_eq!(data["api"]["admin"], false);
                assert_eq!(data["promql"]["fill"], false);
            }
        });
    }
}
