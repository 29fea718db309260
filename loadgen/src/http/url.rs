//! The address of a server: `http://host[:port][/path]`.

use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// An `http` URL without user, query and fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Name or number of the host, an IPv6 address in its brackets.
    host: String,
    port: u16,
    path: String,
}

/// Why a text is not the address of a server, or of none that may be flooded.
#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    /// It is no URL of the form above.
    #[error("\"{url}\" is no address of the form http://host:port/path: {what}")]
    Form {
        /// The text.
        url: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Its host has no address.
    #[error("the host of {url} cannot be found: {source}")]
    Resolve {
        /// The URL.
        url: String,
        /// What the resolver said.
        source: std::io::Error,
    },
    /// It lies on another machine.
    #[error(
        "{url} is {address}, which is not this machine; give --allow-remote if it may be flooded"
    )]
    Remote {
        /// The URL.
        url: String,
        /// Where it leads.
        address: SocketAddr,
    },
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let refuse = |what| UrlError::Form { url: text.to_owned(), what };
        if text.starts_with("https://") {
            return Err(refuse("TLS is not supported; flood the server behind it"));
        }
        let rest =
            text.strip_prefix("http://").ok_or_else(|| refuse("it must begin with http://"))?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(refuse("only visible ASCII can stand in it"));
        }
        if authority.contains('@') {
            return Err(refuse("give user and password with --header 'Authorization: ...'"));
        }
        if text.contains(['?', '#']) {
            return Err(refuse("it cannot have a query or a fragment"));
        }
        let port_at = authority.rfind(':').filter(|colon| authority.rfind(']') < Some(*colon));
        let (host, port) = match port_at {
            None => (authority, 80),
            Some(colon) => {
                let (host, port) = authority.split_at(colon);
                let port = port.trim_start_matches(':').parse();
                (host, port.map_err(|_| refuse("its port is not a number below 65536"))?)
            }
        };
        if host.is_empty() {
            return Err(refuse("it names no host"));
        }
        let path = if path.is_empty() { "/" } else { path };
        Ok(Self { host: host.to_owned(), port, path: path.to_owned() })
    }
}

impl Url {
    /// The path, beginning with a slash.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What a `Host` header says.
    #[must_use]
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The same server with `suffix` behind its path, which may be a prefix of a route.
    #[must_use]
    pub fn join(&self, suffix: &str) -> Self {
        let path = format!("{}{suffix}", self.path.trim_end_matches('/'));
        Self { path, ..self.clone() }
    }

    /// Its addresses; only those of this machine unless `allow_remote`.
    ///
    /// # Errors
    /// The host has no address, or one elsewhere that is not allowed.
    pub fn resolve(&self, allow_remote: bool) -> Result<Vec<SocketAddr>, UrlError> {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let addresses: Vec<_> = (host, self.port)
            .to_socket_addrs()
            .map_err(|source| UrlError::Resolve { url: self.to_string(), source })?
            .collect();
        match addresses.iter().find(|address| !address.ip().is_loopback()) {
            Some(address) if !allow_remote => {
                Err(UrlError::Remote { url: self.to_string(), address: *address })
            }
            _ => Ok(addresses),
        }
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}:{}{}", self.host, self.port, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_host_port_and_path() {
        assert_eq!(
            url("http://localhost:9090/api/v1/write").to_string(),
            "http://localhost:9090/api/v1/write"
        );
        assert_eq!(url("http://127.0.0.1").to_string(), "http://127.0.0.1:80/");
        assert_eq!(url("http://[::1]:9090").authority(), "[::1]:9090");
        assert_eq!(url("http://[::1]").authority(), "[::1]:80");
    }

    #[test]
    fn a_route_prefix_stays_in_front() {
        assert_eq!(url("http://a:1/prom/").join("/api/v1/query").path(), "/prom/api/v1/query");
        assert_eq!(url("http://a:1").join("/api/v1/query").path(), "/api/v1/query");
    }

    #[test]
    fn what_is_wrong_with_an_address_is_said() {
        for (text, what) in [
            ("https://a/", "TLS"),
            ("localhost:9090", "begin with http://"),
            ("http://:80", "no host"),
            ("http://a:x", "port"),
            ("http://a:99999", "port"),
            ("http://u:p@a", "Authorization"),
            ("http://a/?b", "query"),
            ("http://a/\r\nX: y", "ASCII"),
        ] {
            let error = text.parse::<Url>().unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }

    #[test]
    fn only_this_machine_is_flooded_unless_allowed() {
        assert!(url("http://127.0.0.1:9").resolve(false).is_ok());
        assert!(url("http://[::1]:9").resolve(false).is_ok());
        let error = url("http://192.0.2.1:9").resolve(false).unwrap_err().to_string();
        assert!(error.contains("--allow-remote"), "{error}");
        assert!(url("http://192.0.2.1:9").resolve(true).is_ok());
    }
}
