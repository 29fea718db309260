//! A remote-write receiver in this process that stores what arrives, answers the generator's questions about it, and
//! misbehaves on command.
//!
//! It decodes with prost, from message definitions of its own, so that it shares no code with the generator's encoders.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use prost::Message;

/// A label set, sorted by name.
pub type Labels = BTreeMap<String, String>;
/// Samples by timestamp.
pub type Samples = BTreeMap<i64, f64>;
/// Everything that was stored.
pub type Store = BTreeMap<Labels, Samples>;

/// Native histograms by series and timestamp, each as the message that came.
type Natives = BTreeMap<Labels, BTreeMap<i64, Vec<u8>>>;

/// What to do with a write.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    /// Store it and acknowledge.
    Store,
    /// Acknowledge it and forget it.
    Lose,
    /// Store it with other values and acknowledge.
    Alter,
    /// Store it, and each sample again a millisecond later; acknowledge.
    Invent,
    /// Store it under another pod's name and under its own; acknowledge.
    InventSeries,
    /// Store it and answer with this status.
    StoreAndAnswer(u16),
    /// Answer with this status.
    Answer(u16),
    /// Answer 503 with `Retry-After: 0`.
    Busy,
    /// Store it and close the connection without an answer.
    StoreAndHangUp,
    /// Stop this thread for so many milliseconds, then store and acknowledge.
    Stall(u64),
    /// Acknowledge a 2.0 request without saying how much was written.
    StoreWithoutCount,
    /// Stop serving for ever, this request included.
    Die,
}

/// A running receiver.
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    store: Mutex<Store>,
    natives: Mutex<Natives>,
    writes: AtomicUsize,
    dead: AtomicBool,
    closed_windows: bool,
    streams: Mutex<Vec<TcpStream>>,
    arrivals: Mutex<Vec<(Labels, usize)>>,
    act: Box<dyn Fn(usize) -> Action + Send + Sync>,
}

impl Receiver {
    /// Does with the `n`th write, counted from 0, what `act(n)` says.
    pub fn start(act: impl Fn(usize) -> Action + Send + Sync + 'static) -> Self {
        Self::with(Store::new(), false, act)
    }

    /// The same on top of what another receiver stored; with `closed_windows` as Prometheus before 3.0.
    pub fn with(
        store: Store,
        closed_windows: bool,
        act: impl Fn(usize) -> Action + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            store: Mutex::new(store),
            natives: Mutex::new(Natives::new()),
            writes: AtomicUsize::new(0),
            dead: AtomicBool::new(false),
            closed_windows,
            streams: Mutex::new(Vec::new()),
            arrivals: Mutex::new(Vec::new()),
            act: Box::new(act),
        });
        let serving = shared.clone();
        thread::spawn(move || {
            for (connection, stream) in listener.incoming().enumerate() {
                let stream = stream.unwrap();
                if serving.dead.load(Ordering::SeqCst) {
                    return; // and with it the listener
                }
                serving.streams.lock().unwrap().push(stream.try_clone().unwrap());
                let shared = serving.clone();
                thread::spawn(move || drop(shared.converse(stream, connection)));
            }
        });
        Self { address, shared }
    }

    /// A receiver that behaves.
    pub fn honest() -> Self {
        Self::start(|_| Action::Store)
    }

    /// Where to write to.
    pub fn write_url(&self) -> String {
        format!("http://{}/api/v1/write", self.address)
    }

    /// Where to ask.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What was stored.
    pub fn store(&self) -> Store {
        self.shared.store.lock().unwrap().clone()
    }

    /// Which series came over which connection, sample by sample.
    pub fn arrivals(&self) -> Vec<(Labels, usize)> {
        self.shared.arrivals.lock().unwrap().clone()
    }

    /// How many writes came, those sent again included.
    pub fn writes(&self) -> usize {
        self.shared.writes.load(Ordering::SeqCst)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.die();
        let _unblocks_accepting = TcpStream::connect(self.address);
    }
}

/// One request: its path, header lines with lower-case names, and body.
pub struct Request {
    /// As in the first line.
    pub path: String,
    headers: BTreeMap<String, String>,
    /// All of it.
    pub body: Vec<u8>,
}

impl Shared {
    fn die(&self) {
        self.dead.store(true, Ordering::SeqCst);
        for stream in self.streams.lock().unwrap().drain(..) {
            let _already_closed = stream.shutdown(Shutdown::Both);
        }
    }

    fn converse(&self, stream: TcpStream, connection: usize) -> std::io::Result<()> {
        let mut writer = stream.try_clone()?;
        let mut reader = BufReader::new(stream);
        while let Some(request) = read_request(&mut reader)? {
            if self.dead.load(Ordering::SeqCst) {
                break;
            }
            let answer = match request.path.as_str() {
                "/api/v1/write" => match self.write(&request, connection) {
                    Some(answer) => answer.into_bytes(),
                    None => break,
                },
                "/api/v1/query" => self.query(&form(&request.body)).into_bytes(),
                "/api/v1/series" => self.series(&form(&request.body)).into_bytes(),
                "/api/v1/read" => self.read(&request.body),
                other => panic!("asked for {other}"),
            };
            writer.write_all(&answer)?;
        }
        writer.shutdown(Shutdown::Both)
    }

    /// `None` if the connection is to be closed.
    fn write(&self, request: &Request, connection: usize) -> Option<String> {
        let action = (self.act)(self.writes.fetch_add(1, Ordering::SeqCst));
        let (series, natives) = decode(request);
        let samples: usize = series.iter().map(|(_, samples)| samples.len()).sum();
        let mut count = format!("X-Prometheus-Remote-Write-Samples-Written: {samples}\r\n");
        let histograms: usize = natives.iter().map(|(_, natives)| natives.len()).sum();
        count.push_str(&format!("X-Prometheus-Remote-Write-Histograms-Written: {histograms}\r\n"));
        if !matches!(action, Action::Lose | Action::Answer(_) | Action::Busy | Action::Die) {
            let mut kept = self.natives.lock().unwrap();
            for (labels, messages) in natives {
                let messages = messages.into_iter();
                let of_series = kept.entry(labels).or_default();
                of_series.extend(messages.map(|message| native(action, message)));
            }
        }
        let mut status = 204;
        let labels = series.iter().map(|(labels, _)| (labels.clone(), connection));
        self.arrivals.lock().unwrap().extend(labels);
        match action {
            Action::Store | Action::StoreAndHangUp | Action::StoreWithoutCount => {
                self.keep(&series, |t, v| vec![(t, v)]);
            }
            Action::Alter => self.keep(&series, |t, v| vec![(t, v + 1.0)]),
            Action::Invent => self.keep(&series, |t, v| vec![(t, v), (t + 1, v)]),
            Action::InventSeries => {
                self.keep(&series, |t, v| vec![(t, v)]);
                let stray = series.into_iter().map(|(mut labels, samples)| {
                    labels.insert("pod".to_owned(), "stray".to_owned());
                    (labels, samples)
                });
                self.keep(&stray.collect::<Vec<_>>(), |t, v| vec![(t, v)]);
            }
            Action::StoreAndAnswer(answer) => {
                self.keep(&series, |t, v| vec![(t, v)]);
                status = answer;
            }
            Action::Stall(ms) => {
                thread::park_timeout(std::time::Duration::from_millis(ms));
                self.keep(&series, |t, v| vec![(t, v)]);
            }
            Action::Answer(answer) => status = answer,
            Action::Busy => {
                return Some(
                    "HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n".to_owned(),
                );
            }
            Action::Lose => {}
            Action::Die => self.die(),
        }
        match action {
            Action::StoreAndHangUp | Action::Die => return None,
            Action::StoreWithoutCount => count.clear(),
            _ => {}
        }
        let text = if status < 300 { "" } else { "out of order sample" };
        Some(match status {
            204 => format!("HTTP/1.1 204 No Content\r\n{count}\r\n"),
            _ => format!(
                "HTTP/1.1 {status} X\r\n{count}Content-Length: {}\r\n\r\n{text}",
                text.len()
            ),
        })
    }

    fn keep(&self, series: &[(Labels, Vec<Sample>)], what: impl Fn(i64, f64) -> Vec<(i64, f64)>) {
        let mut store = self.store.lock().unwrap();
        for (labels, samples) in series {
            let kept = store.entry(labels.clone()).or_default();
            kept.extend(samples.iter().flat_map(|sample| what(sample.timestamp, sample.value)));
        }
    }

    fn query(&self, form: &BTreeMap<String, String>) -> String {
        let query = &form["query"];
        if query == "1" {
            return json(r#"{"resultType":"scalar","result":[1,"1"]}"#);
        }
        let (selector, range) = query.strip_suffix("ms]").unwrap().split_once('[').unwrap();
        let (seconds, ms) = form["time"].split_once('.').unwrap();
        let until = seconds.parse::<i64>().unwrap() * 1000 + ms.parse::<i64>().unwrap();
        let after = until - range.parse::<i64>().unwrap() - i64::from(self.closed_windows);
        let store = self.store.lock().unwrap();
        let series = store.iter().filter(|(labels, _)| matches(selector, labels));
        let series = series.filter_map(|(labels, samples)| {
            let values: Vec<String> = samples
                .range(after + 1..=until)
                .map(|(t, v)| format!("[{}.{:03},\"{v}\"]", t / 1000, t % 1000))
                .collect();
            let metric = serde_json::to_string(labels).unwrap();
            (!values.is_empty())
                .then(|| format!(r#"{{"metric":{metric},"values":[{}]}}"#, values.join(",")))
        });
        let series: Vec<String> = series.collect();
        json(&format!(r#"{{"resultType":"matrix","result":[{}]}}"#, series.join(",")))
    }

    /// Answers a remote read of the native histograms of one cluster and instance.
    fn read(&self, body: &[u8]) -> Vec<u8> {
        let body = snap::raw::Decoder::new().decompress_vec(body).unwrap();
        let query = ReadRequest::decode(&body[..]).unwrap().queries.remove(0);
        let equal = |labels: &Labels| {
            let mut equal = query.matchers.iter().filter(|matcher| matcher.comparison == 0);
            equal.all(|matcher| labels.get(&matcher.name) == Some(&matcher.value))
        };
        let natives = self.natives.lock().unwrap();
        let timeseries =
            natives.iter().filter(|(labels, _)| equal(labels)).map(|(labels, kept)| {
                let label = |(name, value): (&String, &String)| Label {
                    name: name.clone(),
                    value: value.clone(),
                };
                let kept = kept.range(query.start..=query.end);
                TimeSeries {
                    labels: labels.iter().map(label).collect(),
                    samples: Vec::new(),
                    histograms: kept.map(|(_, message)| message.clone()).collect(),
                }
            });
        let result = WriteRequest { timeseries: timeseries.collect() };
        let response = ReadResponse { results: vec![result] }.encode_to_vec();
        let block = snap::raw::Encoder::new().compress_vec(&response).unwrap();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", block.len());
        [head.into_bytes(), block].concat()
    }

    fn series(&self, form: &BTreeMap<String, String>) -> String {
        let store = self.store.lock().unwrap();
        let found = store.keys().filter(|labels| matches(&form["match[]"], labels));
        json(&serde_json::to_string(&found.collect::<Vec<_>>()).unwrap())
    }
}

/// The timestamp of a histogram, and the message as it is to be kept.
fn native(action: Action, mut message: Vec<u8>) -> (i64, Vec<u8>) {
    let timestamp = Stamp::decode(&message[..]).unwrap().timestamp;
    if action == Action::Alter {
        // A field that comes again overwrites the first: another sum.
        message.push(0x19);
        message.extend(1.5f64.to_le_bytes());
    }
    (timestamp, message)
}

fn json(data: &str) -> String {
    let body = format!(r#"{{"status":"success","data":{data}}}"#);
    format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    )
}

/// Does a selector of the few forms that the generator uses match?
fn matches(selector: &str, labels: &Labels) -> bool {
    let (name, matchers) = selector.strip_suffix('}').unwrap().split_once('{').unwrap();
    let value = |name: &str| labels.get(name).map_or("", String::as_str);
    (name.is_empty() || value("__name__") == name)
        && matchers.split(',').all(|matcher| match matcher.split_once("!~\"") {
            Some((name, names)) => {
                !names.trim_end_matches('"').split('|').any(|n| n == value(name))
            }
            None => {
                let (name, text) = matcher.split_once("=\"").unwrap();
                value(name) == text.strip_suffix('"').unwrap()
            }
        })
}

/// The next request of a connection, if another comes.
pub fn read_request(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let path = line.split(' ').nth(1).unwrap().to_owned();
    assert!(line.starts_with("POST ") && line.ends_with(" HTTP/1.1\r\n"), "{line}");
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let mut body = vec![0; headers["content-length"].parse().unwrap()];
    reader.read_exact(&mut body)?;
    Ok(Some(Request { path, headers, body }))
}

/// The fields of a form.
pub fn form(body: &[u8]) -> BTreeMap<String, String> {
    let text = std::str::from_utf8(body).unwrap();
    let unescape = |text: &str| {
        let mut bytes = text.bytes();
        let mut plain = Vec::new();
        while let Some(byte) = bytes.next() {
            let hex: Vec<u8> =
                if byte == b'%' { bytes.by_ref().take(2).collect() } else { Vec::new() };
            let hex = std::str::from_utf8(&hex).unwrap();
            plain.push(u8::from_str_radix(hex, 16).unwrap_or(byte));
        }
        String::from_utf8(plain).unwrap()
    };
    text.split('&')
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(name, value)| (unescape(name), unescape(value)))
        .collect()
}

#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(bytes = "vec", repeated, tag = "4")]
    histograms: Vec<Vec<u8>>,
}

/// What a histogram is kept under.
#[derive(Clone, PartialEq, Message)]
struct Stamp {
    #[prost(int64, tag = "15")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct ReadRequest {
    #[prost(message, repeated, tag = "1")]
    queries: Vec<Query>,
}

#[derive(Clone, PartialEq, Message)]
struct Query {
    #[prost(int64, tag = "1")]
    start: i64,
    #[prost(int64, tag = "2")]
    end: i64,
    #[prost(message, repeated, tag = "3")]
    matchers: Vec<Matcher>,
}

#[derive(Clone, PartialEq, Message)]
struct Matcher {
    #[prost(int32, tag = "1")]
    comparison: i32,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    value: String,
}

/// A result has the form of a write.
#[derive(Clone, PartialEq, Message)]
struct ReadResponse {
    #[prost(message, repeated, tag = "1")]
    results: Vec<WriteRequest>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct RequestV2 {
    #[prost(string, repeated, tag = "4")]
    symbols: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    timeseries: Vec<TimeSeriesV2>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeriesV2 {
    #[prost(uint32, repeated, tag = "1")]
    labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(bytes = "vec", repeated, tag = "3")]
    histograms: Vec<Vec<u8>>,
}

/// The floats of each series, and the native histograms of those that have some.
type Decoded = (Vec<(Labels, Vec<Sample>)>, Vec<(Labels, Vec<Vec<u8>>)>);

fn decode(request: &Request) -> Decoded {
    let message = match request.headers["content-encoding"].as_str() {
        "snappy" => snap::raw::Decoder::new().decompress_vec(&request.body).unwrap(),
        "zstd" => zstd::bulk::decompress(&request.body, 1 << 24).unwrap(),
        other => panic!("encoded as {other}"),
    };
    let version = request.headers["x-prometheus-remote-write-version"].as_str();
    let all: Vec<(Labels, Vec<Sample>, Vec<Vec<u8>>)> =
        match (request.headers["content-type"].as_str(), version) {
            ("application/x-protobuf", "0.1.0") => {
                let request = WriteRequest::decode(&message[..]).unwrap();
                let one = |series: TimeSeries| {
                    let labels = series.labels.into_iter().map(|label| (label.name, label.value));
                    (labels.collect(), series.samples, series.histograms)
                };
                request.timeseries.into_iter().map(one).collect()
            }
            ("application/x-protobuf;proto=io.prometheus.write.v2.Request", "2.0.0") => {
                let request = RequestV2::decode(&message[..]).unwrap();
                let symbol = |at: u32| request.symbols[at as usize].clone();
                let one = |series: &TimeSeriesV2| {
                    let pairs = series.labels_refs.chunks(2);
                    (
                        pairs.map(|pair| (symbol(pair[0]), symbol(pair[1]))).collect(),
                        series.samples.clone(),
                        series.histograms.clone(),
                    )
                };
                request.timeseries.iter().map(one).collect()
            }
            other => panic!("a message of type {other:?}"),
        };
    let natives = all.iter().filter(|(_, _, natives)| !natives.is_empty());
    let natives = natives.map(|(labels, _, natives)| (labels.clone(), natives.clone())).collect();
    (all.into_iter().map(|(labels, samples, _)| (labels, samples)).collect(), natives)
}
