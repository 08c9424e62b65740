//! The few GET requests this tool makes, each bounded in time and size.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

const TIMEOUT: Duration = Duration::from_millis(500);
/// A metrics page is a few hundred kilobytes at most.
const ANSWER_MAX_BYTES: u64 = 4 << 20;

/// An answer's status and body.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

/// GET from a port on 127.0.0.1; the server closes the connection behind its answer.
pub fn get(port: u16, path: &str) -> Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n")?;
    let mut bytes = Vec::new();
    stream.take(ANSWER_MAX_BYTES).read_to_end(&mut bytes)?;
    parse(&String::from_utf8_lossy(&bytes)).with_context(|| format!("port {port} does not speak HTTP"))
}

fn parse(text: &str) -> Option<Answer> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
    Some(Answer { status, body: body.to_owned() })
}

/// The sum over all series of one metric in a Prometheus text page; `None` when the page has no such metric.
pub fn metric_sum(page: &str, name: &str) -> Option<f64> {
    let series = page.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let value = match rest.strip_prefix('{') {
            Some(labels) => labels.rsplit_once('}')?.1,
            None => rest.strip_prefix(' ')?,
        };
        value.split_whitespace().next()?.parse::<f64>().ok()
    });
    series.reduce(|sum, value| sum + value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_and_the_body_are_read() {
        let answer = parse("HTTP/1.1 503 Service Unavailable\r\nA: b\r\n\r\nwhy").unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (503, "why"));
        assert!(parse("SSH-2.0-x\r\n\r\n").is_none());
    }

    #[test]
    fn all_series_of_a_metric_count_and_no_others() {
        let page = "# HELP a x\na{b=\"} 7\",c=\"d\"} 2\na{b=\"e\"} 3 1700000000\na_total 100\nab 100\nn 1.5\n";
        assert_eq!(metric_sum(page, "a"), Some(5.0));
        assert_eq!(metric_sum(page, "n"), Some(1.5));
        assert_eq!(metric_sum(page, "missing"), None);
    }
}
