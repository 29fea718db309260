//! `query` against servers in this process that say what they are told to.

use std::io::{BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;

use crate::receiver::{form, read_request};
use crate::run::run;

/// What was asked: path and query.
type Asked = Arc<Mutex<Vec<(String, String)>>>;

/// A server that answers each query with a status and a body that `answer` gives; runs until the test process ends.
fn server(answer: impl Fn(&str) -> (u16, String) + Send + 'static) -> (String, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Asked::default();
    let seen = asked.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            while let Some(request) = read_request(&mut reader).unwrap() {
                let query = form(&request.body)["query"].clone();
                let (status, body) = answer(&query);
                seen.lock().unwrap().push((request.path, query));
                let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", body.len());
                stream.write_all(head.as_bytes()).unwrap();
                stream.write_all(body.as_bytes()).unwrap();
            }
        }
    });
    (url, asked)
}

fn matrix(values: &str) -> (u16, String) {
    let data = format!(
        r#"{{"resultType":"matrix","result":[{{"metric":{{"a":"1"}},"values":{values}}}]}}"#
    );
    (200, format!(r#"{{"status":"success","data":{data}}}"#))
}

#[test]
fn two_servers_are_asked_in_turn_and_compared() {
    let answer = |query: &str| match query {
        "count(m)" => matrix(r#"[[1,"40"],[2,"60"]]"#),
        _ => matrix(r#"[[1,"0.1"],[2,"7"]]"#),
    };
    let (ours, asked) = server(answer);
    let (theirs, other_asked) = server(answer);
    let args = ["query", "sum(m) # m", "--url", &ours, "--against", &theirs];
    let ran = run(&[&args[..], &["--runs", "3", "--warmup", "2", "--json", "-q"]].concat());
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    let row = &ran.json()["queries"][0];
    assert_eq!((&row["points"], &row["agree"]), (&100.into(), &true.into()), "{row}");
    assert_eq!(row["servers"].as_array().unwrap().len(), 2);
    assert!(row["servers"][0]["answer_bytes"].as_u64() > Some(100), "{row}");
    // Two warm-ups, the points, three runs; the other server has nothing to count.
    assert_eq!(asked.lock().unwrap().len(), 6);
    assert_eq!(other_asked.lock().unwrap().len(), 5);
    assert!(asked.lock().unwrap().iter().all(|(path, _)| path == "/api/v1/query_range"));
}

#[test]
fn answers_that_differ_are_bad_news() {
    let (ours, _) = server(|_| matrix(r#"[[1,"0.1"]]"#));
    let (theirs, _) = server(|_| matrix(r#"[[1,"0.100001"]]"#));
    let args = ["query", "m", "--url", &ours, "--against", &theirs];
    let ran = run(&args);
    assert_eq!(ran.code, 1, "{}", ran.stdout);
    assert!(ran.stdout.contains("DIFFERENT: 0.1 at 1 and 0.100001 at 1"), "{}", ran.stdout);
    assert_eq!(run(&[&args[..], &["--tolerance", "0.001"]].concat()).code, 0);
}

#[test]
fn a_refusal_is_named_and_the_next_query_is_asked() {
    let (url, asked) = server(|query| match query {
        "bad" => (422, r#"{"status":"error","errorType":"execution","error":"no"}"#.to_owned()),
        _ => matrix(r#"[[1,"0.1"]]"#),
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "# a list\nbad\n\nm\n").unwrap();
    let list = file.path().to_str().unwrap();
    let ran = run(&["query", "--queries", list, "--url", &url, "--instant", "--json"]);
    assert_eq!(ran.code, 1, "{}{}", ran.stdout, ran.stderr);
    let json = ran.json();
    assert!(json["queries"][0]["difference"].as_str().unwrap().ends_with("422: execution: no"));
    assert_eq!(json["queries"][1]["points"], 1);
    assert!(asked.lock().unwrap().iter().all(|(path, _)| path == "/api/v1/query"));
}

#[test]
fn the_servers_process_is_measured() {
    let (url, _) = server(|_| matrix(r#"[[1,"0.1"]]"#));
    let pid = std::process::id().to_string();
    let ran = run(&["query", "m", "--url", &url, "--pid", &pid]);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("ns CPU/point") && ran.stdout.contains("MB at most"));
}

#[test]
fn what_cannot_be_told_has_a_reason() {
    for (args, what) in [
        (&["query", "m", "--url", "http://127.0.0.1:1"][..], "cannot connect"),
        (&["query", "m", "--start", "now", "--end", "now-1h"], "--start is not before --end"),
        (&["query", "--queries", "/nowhere"], "cannot read the queries"),
        (&["query", "m", "--pid", "4294967295"], "no process"),
        (&["query"], "required"),
    ] {
        let ran = run(args);
        assert_eq!(ran.code, 2, "{}", ran.stdout);
        assert!(ran.stderr.contains(what), "{}", ran.stderr);
    }
}
