//! Tests of listening and accepting, with plain sockets of the standard library as clients.

use std::convert::Infallible;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream as Client;
use std::pin::Pin;
use std::sync::mpsc;

use hyper::rt::{Read as _, ReadBuf, Write as _};

use super::*;
use crate::rt::executor::testing::options;
use crate::rt::executor::{End, Executors, Options, start};

const ANY_PORT: &str = "127.0.0.1:0";

/// Serves `shards` doors with `handler`; stops when the flag of the options is raised.
fn serving<H, F>(
    shards: u16,
    connections_max: usize,
    handler: H,
) -> (SocketAddr, Options, Executors)
where
    H: Fn(ShardId, Stream) -> F + Clone + Send + 'static,
    F: Future<Output = ()> + 'static,
{
    let (address, doors) =
        listen(ANY_PORT.parse().unwrap(), shards, connections_max, &Places::new(1000)).unwrap();
    let main = |door: Door| {
        let handler = handler.clone();
        move |context: crate::rt::executor::ShardContext| async move {
            let shard = context.shard;
            let turn_away = |_| async { panic!("there are places") };
            door.serve(context.stop, move |stream| handler(shard, stream), turn_away).await;
        }
    };
    let options = options();
    let executors = start(&options, doors.into_iter().map(main).collect()).unwrap();
    (address, options, executors)
}

fn stopped(options: &Options, executors: Executors) {
    options.stop.raise();
    assert!(executors.join().iter().all(|exit| exit.end == End::Finished));
}

/// Says its shard's number, then echoes until the peer closes.
async fn say_and_echo(shard: ShardId, mut stream: Stream) {
    let number = [u8::try_from(shard.0).unwrap()];
    write_all(&mut stream, &number).await;
    while let Ok(byte) = read_byte(&mut stream).await {
        write_all(&mut stream, &[byte]).await;
    }
}

async fn write_all(stream: &mut Stream, bytes: &[u8]) {
    let written = std::future::poll_fn(|cx| Pin::new(&mut *stream).poll_write(cx, bytes)).await;
    assert_eq!(written.unwrap(), bytes.len());
}

async fn read_byte(stream: &mut Stream) -> io::Result<u8> {
    let mut place = [0u8; 1];
    let mut buf = ReadBuf::new(&mut place);
    std::future::poll_fn(|cx| Pin::new(&mut *stream).poll_read(cx, buf.unfilled())).await?;
    buf.filled().first().copied().ok_or_else(|| ErrorKind::UnexpectedEof.into())
}

fn byte_from(client: &mut Client) -> u8 {
    let mut byte = [0];
    client.read_exact(&mut byte).unwrap();
    byte[0]
}

#[test]
fn a_few_connections_are_spread_evenly() {
    let (address, options, executors) = serving(2, 100, say_and_echo);
    let mut counts = [0; 2];
    let clients: Vec<Client> = (0..6)
        .map(|_| {
            let mut client = Client::connect(address).unwrap();
            counts[usize::from(byte_from(&mut client))] += 1;
            client
        })
        .collect();
    assert_eq!(counts, [3, 3]);
    drop(clients);
    stopped(&options, executors);
}

#[test]
fn bytes_pass_both_ways_on_every_shard() {
    let (address, options, executors) = serving(3, 100, say_and_echo);
    for _ in 0..3 {
        let mut client = Client::connect(address).unwrap();
        byte_from(&mut client);
        for byte in [1, 2, 3] {
            client.write_all(&[byte]).unwrap();
            assert_eq!(byte_from(&mut client), byte);
        }
    }
    stopped(&options, executors);
}

#[test]
fn r13_a_port_in_use_is_refused() {
    let (address, _doors) = listen(ANY_PORT.parse().unwrap(), 1, 1, &Places::new(1)).unwrap();
    let error = listen(address, 1, 1, &Places::new(1)).map(drop).unwrap_err();
    assert!(matches!(error, StartError::PortInUse { address: at } if at == address), "{error}");
}

#[test]
fn an_address_of_another_host_is_refused_with_the_reason() {
    let error =
        listen("192.0.2.1:0".parse().unwrap(), 1, 1, &Places::new(1)).map(drop).unwrap_err();
    assert!(matches!(error, StartError::Listen { .. }), "{error}");
}

#[test]
fn after_the_stop_nobody_is_accepted_and_open_connections_end_by_themselves() {
    let (address, options, executors) = serving(2, 100, say_and_echo);
    let mut client = Client::connect(address).unwrap();
    byte_from(&mut client);
    options.stop.raise();
    // The socket is shut before the connection has ended. Until then a connect may still succeed, and is reset.
    while Client::connect(address).is_ok() {}
    client.write_all(&[7]).unwrap();
    assert_eq!(byte_from(&mut client), 7, "still served");
    drop(client);
    stopped(&options, executors);
}

#[test]
fn beyond_the_most_connections_the_next_waits_for_one_to_close() {
    let (address, options, executors) = serving(2, 1, say_and_echo);
    let mut first = Client::connect(address).unwrap();
    byte_from(&mut first);
    let mut second = Client::connect(address).unwrap();
    second.set_nonblocking(true).unwrap();
    assert_eq!(second.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    first.write_all(&[7]).unwrap();
    assert_eq!(byte_from(&mut first), 7);
    assert_eq!(second.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    drop(first);
    second.set_nonblocking(false).unwrap();
    byte_from(&mut second);
    drop(second);
    stopped(&options, executors);
}

#[test]
fn a_handler_that_panics_costs_its_connection_only() {
    let (address, options, executors) = serving(1, 100, |shard, mut stream| async move {
        let byte = read_byte(&mut stream).await.unwrap();
        assert_ne!(byte, 13, "out of luck");
        say_and_echo(shard, stream).await;
    });
    let mut unlucky = Client::connect(address).unwrap();
    let mut lucky = Client::connect(address).unwrap();
    unlucky.write_all(&[13]).unwrap();
    assert_eq!(unlucky.read(&mut [0]).unwrap(), 0, "closed");
    lucky.write_all(&[7]).unwrap();
    assert_eq!(byte_from(&mut lucky), 0);
    drop(lucky);
    stopped(&options, executors);
}

#[test]
fn a_peer_that_does_not_send_in_time_is_an_error() {
    let (told, hears) = mpsc::channel();
    let (address, options, executors) = serving(1, 100, move |_, mut stream| {
        let told = told.clone();
        async move {
            let deadline = stream.read_deadline();
            deadline.within(Duration::from_millis(1));
            told.send(read_byte(&mut stream).await.map_err(|error| error.kind())).unwrap();
            deadline.lift();
            told.send(read_byte(&mut stream).await.map_err(|error| error.kind())).unwrap();
        }
    });
    let mut client = Client::connect(address).unwrap();
    assert_eq!(hears.recv().unwrap(), Err(ErrorKind::TimedOut));
    client.write_all(&[7]).unwrap();
    assert_eq!(hears.recv().unwrap(), Ok(7), "once lifted, the deadline is no more");
    stopped(&options, executors);
}

#[test]
fn hyper_serves_http_on_a_stream() {
    let (address, options, executors) = serving(2, 100, |shard, stream| async move {
        let service = hyper::service::service_fn(move |_| async move {
            Ok::<_, Infallible>(hyper::Response::new(format!("shard {shard}")))
        });
        let http = hyper::server::conn::http1::Builder::new();
        http.serve_connection(stream, service).await.unwrap();
    });
    let mut client = Client::connect(address).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nshard 000"), "{answer}");
    stopped(&options, executors);
}
