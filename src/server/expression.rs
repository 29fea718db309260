//! `/api/v1/format_query` and `/api/v1/parse_query`: a query's text laid out, and its tree.
//!
//! Nothing is evaluated and no data is needed. Source: `web/api/v1/api.go` (`formatQuery`, `parseQuery`), Prometheus 3.14.

use super::api_error::ApiError;
use super::form::Form;
use super::json::{number, text};
use super::reply::{self, Reply};
use super::service::Server;
use crate::coordinator::api::Store;
use crate::query::ast::Expr;
use crate::query::parser::parse_expr;
use crate::query::prettier::prettify;
use crate::query::tree::{self, Piece};

/// A longer text is not looked at: both answers are many times as long, and are made in one go.
const TEXT_BYTES_MAX: usize = 256 << 10;

/// `format_query`.
///
/// # Errors
/// A text that is no query, or too long.
pub fn format<S: Store>(server: &Server<S>, form: &Form) -> Result<Reply, ApiError> {
    let pretty = prettify(&parsed(server, form)?).map_err(|error| invalid(error.to_string()))?;
    Ok(reply::success(|out| text::string(out, &pretty)))
}

/// `parse_query`.
///
/// # Errors
/// A text that is no query, or too long.
pub fn parse<S: Store>(server: &Server<S>, form: &Form) -> Result<Reply, ApiError> {
    let expr = parsed(server, form)?;
    Ok(reply::success(|out| tree::tell(&expr, &mut |piece| write(out, piece))))
}

fn parsed<S: Store>(server: &Server<S>, form: &Form) -> Result<Expr, ApiError> {
    let text = form.get("query");
    if text.len() > TEXT_BYTES_MAX {
        return Err(invalid(format!("the query is longer than {TEXT_BYTES_MAX} bytes")));
    }
    parse_expr(text, &server.settings.features.parse).map_err(|errors| invalid(errors.to_string()))
}

fn invalid(why: String) -> ApiError {
    ApiError::bad_data(format!("invalid parameter \"query\": {why}"))
}

/// Appends a piece of a tree, with the comma that may have to stand before it.
fn write(out: &mut Vec<u8>, piece: Piece<'_>) {
    let ends = matches!(piece, Piece::ObjectEnds | Piece::ListEnds);
    if !ends && !matches!(out.last(), Some(b'{' | b'[' | b':')) {
        out.push(b',');
    }
    match piece {
        Piece::Object => out.push(b'{'),
        Piece::ObjectEnds => out.push(b'}'),
        Piece::List => out.push(b'['),
        Piece::ListEnds => out.push(b']'),
        Piece::Name(name) => {
            text::string(out, name);
            out.push(b':');
        }
        Piece::Text(value) => text::string(out, value),
        Piece::Bytes(value) => text::bytes(out, value),
        Piece::Whole(n) => number::signed(out, n),
        Piece::Float(v) if v.is_finite() => number::bare_value(out, v),
        // JSON has no such number.
        Piece::Float(_) | Piece::Null => out.extend_from_slice(b"null"),
        Piece::Truth(yes) => out.extend_from_slice(if yes { b"true" } else { b"false" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt::executor::testing::on_one_shard;
    use crate::server::testing::{FakeStore, ask, get, post_form, server};

    fn escaped(text: &str) -> String {
        text.bytes().map(|byte| format!("%{byte:02x}")).collect()
    }

    /// The tree of a query, from a server with these flags.
    fn tree(flags: &'static str, query: &'static str) -> serde_json::Value {
        let (sent, received) = std::sync::mpsc::channel();
        on_one_shard(move |_| async move {
            let server = server(&FakeStore::new(), flags);
            let uri = format!("/api/v1/parse_query?query={}", escaped(query));
            let answered = ask(&server, get(&uri)).await;
            assert_eq!(answered.status, 200, "{}", answered.body);
            sent.send(answered.body).unwrap();
        });
        let mut json: serde_json::Value = serde_json::from_str(&received.recv().unwrap()).unwrap();
        json["data"].take()
    }

    #[test]
    fn a_query_is_laid_out() {
        on_one_shard(|_| async {
            let server = server(&FakeStore::new(), "");
            let answered = ask(&server, post_form("/api/v1/format_query", "query=foo%3C1")).await;
            assert_eq!(answered.body, r#"{"status":"success","data":"foo \u003c 1"}"#);
            for path in ["format_query", "parse_query"] {
                let answered = ask(&server, get(&format!("/api/v1/{path}?query=foo%2F"))).await;
                assert_eq!(answered.status, 400);
                assert_eq!(
                    answered.body,
                    r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 1:5: parse error: unexpected end of input"}"#
                );
            }
            let long = format!("query={}", "1".repeat(TEXT_BYTES_MAX + 1)).leak();
            assert_eq!(ask(&server, post_form("/api/v1/parse_query", long)).await.status, 400);
        });
    }

    #[test] // byte for byte as upstream: its members are sorted by their names
    fn a_selector_has_this_tree() {
        on_one_shard(|_| async {
            let server = server(&FakeStore::new(), "");
            let uri = "/api/v1/parse_query?query=up%7Ba!~%22b%22%7D%20offset%205m%20%40%201.5";
            let answered = ask(&server, get(uri)).await;
            assert_eq!(
                answered.body,
                r#"{"status":"success","data":{"anchored":false,"matchers":[{"name":"a","type":"!~","value":"b"},{"name":"__name__","type":"=","value":"up"}],"name":"up","offset":300000,"offsetExpr":null,"smoothed":false,"startOrEnd":null,"timestamp":1500,"type":"vectorSelector"}}"#
            );
        });
    }

    #[test]
    fn operators_and_calls_have_their_parts() {
        let json = tree("", "sum without(a) (rate(x[5m])) / on(b) group_left(c) y > bool 1");
        assert_eq!((&json["type"], &json["op"]), (&"binaryExpr".into(), &">".into()));
        assert_eq!((&json["bool"], &json["matching"]), (&true.into(), &serde_json::Value::Null));
        assert_eq!(json["rhs"], serde_json::json!({"type": "numberLiteral", "val": "1"}));
        let division = &json["lhs"];
        assert_eq!(
            division["matching"],
            serde_json::json!({
                "card": "many-to-one", "labels": ["b"], "on": true, "include": ["c"],
                "fillValues": {"lhs": null, "rhs": null},
            })
        );
        let sum = &division["lhs"];
        assert_eq!((&sum["type"], &sum["op"]), (&"aggregation".into(), &"sum".into()));
        assert_eq!(sum["grouping"], serde_json::json!(["a"]));
        assert_eq!((&sum["without"], &sum["param"]), (&true.into(), &serde_json::Value::Null));
        assert_eq!(
            sum["expr"]["func"],
            serde_json::json!({
                "name": "rate", "argTypes": ["matrix"], "variadic": 0, "returnType": "vector",
            })
        );
        let matrix = &sum["expr"]["args"][0];
        assert_eq!(
            (&matrix["type"], &matrix["range"]),
            (&"matrixSelector".into(), &300_000.into())
        );
    }

    #[test]
    fn lengths_of_time_that_are_computed_have_a_tree_of_their_own() {
        let json = tree("", "max_over_time((x)[(5m):step()*2] @ start() offset -(1m))");
        let subquery = &json["args"][0];
        assert_eq!(subquery["type"], "subquery");
        assert_eq!((&subquery["range"], &subquery["step"]), (&0.into(), &0.into()));
        assert_eq!(subquery["startOrEnd"], "start");
        let minutes = |n: u32, unit: u32| {
            serde_json::json!({
                "type": "numberLiteral", "val": (n * unit).to_string(), "duration": true,
            })
        };
        let in_parentheses = |n| {
            serde_json::json!({
                "type": "durationExpr", "op": "+", "lhs": null, "rhs": minutes(n, 60), "wrapped": true,
            })
        };
        assert_eq!(subquery["rangeExpr"], in_parentheses(5));
        assert_eq!(
            subquery["offsetExpr"],
            serde_json::json!({
                "type": "durationExpr", "op": "-", "lhs": null, "rhs": in_parentheses(1),
                "wrapped": false,
            })
        );
        assert_eq!(subquery["stepExpr"]["lhs"]["op"], "step");
        assert_eq!(subquery["stepExpr"]["rhs"]["duration"], false);
    }

    #[test]
    fn what_the_language_has_is_what_the_flags_say() {
        let flags = "--enable-feature=promql-binop-fill-modifiers,promql-experimental-functions";
        let json = tree(flags, "limitk(1, a) + fill_left(2) b");
        let fills = serde_json::json!({"lhs": 2, "rhs": null});
        assert_eq!(json["matching"]["fillValues"], fills);
        on_one_shard(|_| async {
            let server = server(&FakeStore::new(), "");
            let answered = ask(&server, get("/api/v1/parse_query?query=limitk(1,a)")).await;
            assert_eq!(answered.status, 400, "{}", answered.body);
        });
    }
}
