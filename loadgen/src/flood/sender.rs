//! Gets one body acknowledged: sends it, judges the answer, and sends it again where senders do.
//!
//! As Prometheus' sender does: 503, 429 and other 5xx answers and broken connections are tried again, after the answer's
//! `Retry-After` or after 30 ms, doubling up to 5 s; any other answer but a 2xx is final. A 2xx to a remote write 2.0
//! request confirms a sample only through `X-Prometheus-Remote-Write-Samples-Written`, and a native histogram only
//! through `X-Prometheus-Remote-Write-Histograms-Written`. Exemplars are a bonus that receivers may drop: they are
//! counted as `X-Prometheus-Remote-Write-Exemplars-Written` says, and do not decide about the request.

use std::io::Write;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::control::{Control, Stop};
use super::tally::Tally;
use crate::body::Protocol;
use crate::body::magazine::{Body, Contents};
use crate::http::{Client, Response};

const BACKOFF_MIN: Duration = Duration::from_millis(30);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);
const MESSAGE_CHARS_MAX: usize = 300;

/// Sends the bodies of one connection.
#[derive(Debug)]
pub struct Sender {
    client: Client,
    protocol: Protocol,
    /// The request head up to the number of its `Content-Length`.
    head: Vec<u8>,
    head_fixed_bytes: usize,
    /// How long a body may go without a final answer.
    give_up_after: Duration,
}

/// How sending a body ended, with the answer's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Every sample is confirmed.
    Acknowledged {
        /// The answer's status.
        status: u16,
        /// How many of the exemplars are confirmed.
        exemplars: u64,
    },
    /// A final answer that does not confirm every sample.
    Otherwise(u16),
    /// No final answer.
    Abandoned,
}

impl Sender {
    /// Sends over `client` with a request head that has these lines, each ended by CR LF, and a length.
    #[must_use]
    pub fn new(client: Client, protocol: Protocol, head: &str, give_up_after: Duration) -> Self {
        let head = format!("{head}Content-Length: ").into_bytes();
        Self { client, protocol, head_fixed_bytes: head.len(), head, give_up_after }
    }

    /// How often the connection was opened.
    #[must_use]
    pub fn connects(&self) -> u64 {
        self.client.connects()
    }

    /// Sends `body` until there is a final answer, the flood ends, or `until` has passed.
    pub fn deliver(
        &mut self,
        body: &Body<'_>,
        until: Option<Instant>,
        control: &Control,
        tally: &mut Tally,
    ) -> Delivery {
        self.head.truncate(self.head_fixed_bytes);
        let _infallible = write!(self.head, "{}\r\n\r\n", body.bytes.len());
        let first = Instant::now();
        let mut backoff = BACKOFF_MIN;
        tally.requests_sent += 1;
        loop {
            let (after, trouble) = match self.client.exchange(&self.head, body.bytes) {
                Ok(response) => match judge(&response, self.protocol, body.contents) {
                    Verdict::Acknowledged { exemplars } => {
                        return Delivery::Acknowledged { status: response.status, exemplars };
                    }
                    Verdict::Unconfirmed(message) => {
                        tally.requests_unconfirmed += 1;
                        tally.note(&message);
                        control.pulse().failed.fetch_add(1, Ordering::Relaxed);
                        return Delivery::Otherwise(response.status);
                    }
                    Verdict::Refused(message) => {
                        tally.requests_refused += 1;
                        tally.samples_refused += body.contents.samples();
                        tally.note(&message);
                        control.pulse().failed.fetch_add(1, Ordering::Relaxed);
                        return Delivery::Otherwise(response.status);
                    }
                    Verdict::Busy { after, message } => {
                        tally.answers_throttled += 1;
                        control.pulse().throttled.fetch_add(1, Ordering::Relaxed);
                        (after, message)
                    }
                    Verdict::Broken { after, message } => {
                        tally.answers_server_error += 1;
                        control.pulse().failed.fetch_add(1, Ordering::Relaxed);
                        (after, message)
                    }
                },
                Err(error) => {
                    tally.connection_errors += 1;
                    control.pulse().failed.fetch_add(1, Ordering::Relaxed);
                    (None, error.to_string())
                }
            };
            tally.note(&trouble);
            if first.elapsed() >= self.give_up_after {
                control.stop(Stop::GaveUp(trouble));
                return Delivery::Abandoned;
            }
            let now = Instant::now();
            let again = now + after.unwrap_or(backoff);
            backoff = BACKOFF_MAX.min(backoff * 2);
            let over = until.is_some_and(|until| again >= until);
            let waited = control.wait_until(until.map_or(again, |until| again.min(until)));
            tally.backed_off += now.elapsed();
            if over || !waited {
                return Delivery::Abandoned;
            }
            tally.retries += 1;
        }
    }
}

/// What an answer means.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Acknowledged {
        exemplars: u64,
    },
    /// A 2xx that does not confirm every sample.
    Unconfirmed(String),
    /// Do not send this again.
    Refused(String),
    /// Send it again later: the server has too much to do.
    Busy {
        after: Option<Duration>,
        message: String,
    },
    /// Send it again later: something is wrong with the server.
    Broken {
        after: Option<Duration>,
        message: String,
    },
}

fn judge(response: &Response, protocol: Protocol, sent: Contents) -> Verdict {
    let message = || {
        let body = String::from_utf8_lossy(&response.body);
        let text: String = body.trim().chars().take(MESSAGE_CHARS_MAX).collect();
        format!("{} {text}", response.status).trim_end().to_owned()
    };
    let after = || {
        let seconds = response.header("retry-after")?.parse().ok()?;
        Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
    };
    match (response.status, protocol) {
        (200..=299, Protocol::V1) => Verdict::Acknowledged { exemplars: sent.exemplars },
        (200..=299, Protocol::V2) => confirmed(response, sent),
        (503 | 429, _) => Verdict::Busy { after: after(), message: message() },
        (500..=599, _) => Verdict::Broken { after: after(), message: message() },
        _ => Verdict::Refused(message()),
    }
}

/// What a 2xx to a request of remote write 2.0 means.
fn confirmed(response: &Response, sent: Contents) -> Verdict {
    let written = |kind: &str| {
        let text = response.header(&format!("x-prometheus-remote-write-{kind}-written"))?;
        Some((text, text.parse::<u64>().ok()))
    };
    let kinds = [("Samples", sent.floats), ("Histograms", sent.histograms)];
    // A receiver that knows no histograms need not say that it wrote none of none.
    for (kind, sent) in kinds.into_iter().filter(|(kind, sent)| *kind == "Samples" || *sent > 0) {
        let status = response.status;
        match written(&kind.to_ascii_lowercase()) {
            Some((_, Some(count))) if count == sent => {}
            Some((text, _)) => {
                return Verdict::Unconfirmed(format!(
                    "{status}: {sent} {} were sent and X-Prometheus-Remote-Write-{kind}-Written is {text}",
                    kind.to_ascii_lowercase(),
                ));
            }
            None => {
                return Verdict::Unconfirmed(format!(
                    "{status} without X-Prometheus-Remote-Write-{kind}-Written: the receiver may not know remote write 2.0",
                ));
            }
        }
    }
    // No more than were sent, whatever the receiver claims.
    let exemplars = written("exemplars").and_then(|(_, count)| count).unwrap_or(0);
    Verdict::Acknowledged { exemplars: exemplars.min(sent.exemplars) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIVE: Contents = Contents { floats: 5, histograms: 0, exemplars: 0 };
    const NOTHING_MORE: Verdict = Verdict::Acknowledged { exemplars: 0 };

    fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Response {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Response { status, headers: headers.collect(), body: body.into() }
    }

    #[test]
    fn a_2xx_acknowledges_a_request_of_remote_write_1() {
        assert_eq!(judge(&answer(204, &[], ""), Protocol::V1, FIVE), NOTHING_MORE);
        assert_eq!(judge(&answer(200, &[], "ok"), Protocol::V1, FIVE), NOTHING_MORE);
    }

    #[test]
    fn a_2xx_acknowledges_a_request_of_remote_write_2_if_it_counts_every_sample() {
        let written = |count| {
            let header = [("x-prometheus-remote-write-samples-written", count)];
            judge(&answer(204, &header, ""), Protocol::V2, FIVE)
        };
        assert_eq!(written("5"), NOTHING_MORE);
        assert!(matches!(written("4"), Verdict::Unconfirmed(_)));
        assert!(matches!(written("five"), Verdict::Unconfirmed(_)));
        assert!(matches!(
            judge(&answer(204, &[], ""), Protocol::V2, FIVE),
            Verdict::Unconfirmed(_)
        ));
    }

    #[test]
    fn histograms_are_confirmed_by_a_header_of_their_own_and_exemplars_are_counted() {
        let sent = Contents { floats: 5, histograms: 2, exemplars: 3 };
        let written = |histograms: &str, exemplars: &str| {
            let headers = [
                ("x-prometheus-remote-write-samples-written", "5"),
                ("x-prometheus-remote-write-histograms-written", histograms),
                ("x-prometheus-remote-write-exemplars-written", exemplars),
            ];
            judge(&answer(204, &headers, ""), Protocol::V2, sent)
        };
        assert_eq!(written("2", "3"), Verdict::Acknowledged { exemplars: 3 });
        assert_eq!(written("2", "0"), Verdict::Acknowledged { exemplars: 0 });
        assert_eq!(written("2", "9"), Verdict::Acknowledged { exemplars: 3 });
        let Verdict::Unconfirmed(why) = written("1", "3") else { panic!("one is missing") };
        assert!(why.contains("2 histograms") && why.contains("Histograms-Written is 1"), "{why}");
        let v1 = judge(&answer(204, &[], ""), Protocol::V1, sent);
        assert_eq!(v1, Verdict::Acknowledged { exemplars: 3 });
    }

    #[test]
    fn busy_servers_say_when_to_come_back() {
        let busy = judge(&answer(503, &[("retry-after", "2")], "full"), Protocol::V1, FIVE);
        let after = Some(Duration::from_secs(2));
        assert_eq!(busy, Verdict::Busy { after, message: "503 full".to_owned() });
        let dated = answer(429, &[("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT")], "");
        let message = "429".to_owned();
        assert_eq!(judge(&dated, Protocol::V1, FIVE), Verdict::Busy { after: None, message });
        let never = judge(&answer(503, &[("retry-after", "99999999")], ""), Protocol::V1, FIVE);
        assert!(matches!(never, Verdict::Busy { after: Some(RETRY_AFTER_MAX), .. }));
    }

    #[test]
    fn other_answers_are_refusals_or_broken_servers() {
        let refused = judge(&answer(400, &[], "out of order sample\n"), Protocol::V1, FIVE);
        assert_eq!(refused, Verdict::Refused("400 out of order sample".to_owned()));
        assert!(matches!(judge(&answer(302, &[], ""), Protocol::V1, FIVE), Verdict::Refused(_)));
        assert!(matches!(judge(&answer(500, &[], ""), Protocol::V1, FIVE), Verdict::Broken { .. }));
    }
}
