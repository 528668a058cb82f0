//! A state that nobody confirms: the edge returns to the one before by itself, over a restart too.

use std::time::Duration;

use edge::Edge;
use edge::act::runtime::{ApplyTerms, RuntimeHandle};
use edge::act::status::Confirmation;
use tokio::net::TcpStream;

use crate::support::{
    apply, config_without_server, connect, desired, echo, end, free_ports, let_pass, ping, runtime, to, wait_for,
};

/// Short enough to be waited for, long enough for a switch.
const WINDOW: Duration = Duration::from_millis(700);

/// A rule moves to the next port under generation 2, to be confirmed within that.
async fn try_next(runtime: &RuntimeHandle, port: u16, target: std::net::SocketAddr, within: Duration) {
    apply(runtime, 1, &[to("web", port, target, |_| ())]).await;
    let next = desired(2, &[to("web", port + 1, target, |_| ())]);
    let terms = ApplyTerms { confirm_within: Some(within), ..ApplyTerms::default() };
    assert!(runtime.apply_on(next, terms).await.unwrap().is_none());
    assert_eq!(runtime.status().confirmation, Confirmation::Awaited);
}

async fn is_refused(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).await.is_err()
}

#[tokio::test]
async fn a_state_that_nobody_confirms_gives_way_to_the_one_before_and_no_generation_goes_down() {
    let edge = runtime().await;
    let (port, target) = (free_ports(2), echo("").await);
    try_next(&edge, port, target, WINDOW).await;
    ping(&mut connect(port + 1).await, b"on trial").await;
    let status = wait_for(&edge, |status| status.confirmation == Confirmation::Missed).await;
    assert_eq!(status.accepted.generation, 2);
    assert_ne!(status.running_digest, status.accepted.digest);
    ping(&mut connect(port).await, b"as before").await;
    assert!(is_refused(port + 1).await);
    // The next generation is taken like any other.
    let status = apply(&edge, 3, &[to("web", port + 1, target, |_| ())]).await;
    assert_eq!((status.confirmation, status.accepted.generation), (Confirmation::None, 3));
}

#[tokio::test]
async fn a_confirmation_of_this_very_state_keeps_it() {
    let edge = runtime().await;
    let (port, target) = (free_ports(2), echo("").await);
    try_next(&edge, port, target, WINDOW).await;
    edge.confirm("test".to_owned(), 1).await.unwrap();
    edge.confirm("another".to_owned(), 2).await.unwrap();
    assert_eq!(edge.status().confirmation, Confirmation::Awaited);
    edge.confirm("test".to_owned(), 2).await.unwrap();
    assert_eq!(edge.status().confirmation, Confirmation::None);
    let_pass(WINDOW * 2).await;
    ping(&mut connect(port + 1).await, b"kept").await;
}

#[tokio::test]
async fn what_was_never_confirmed_is_nothing_to_return_to() {
    let edge = runtime().await;
    let (port, target) = (free_ports(3), echo("").await);
    try_next(&edge, port, target, Duration::from_mins(5)).await;
    let terms = ApplyTerms { confirm_within: Some(WINDOW), ..ApplyTerms::default() };
    edge.apply_on(desired(3, &[to("web", port + 2, target, |_| ())]), terms).await.unwrap();
    wait_for(&edge, |status| status.confirmation == Confirmation::Missed).await;
    ping(&mut connect(port).await, b"the first").await;
}

#[tokio::test]
async fn a_restart_while_it_waits_returns_too_and_so_does_one_that_comes_too_late() {
    for is_late in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let (port, target) = (free_ports(2), echo("").await);
        let edge = Edge::start(config_without_server(folder.path())).await.unwrap();
        let window = if is_late { WINDOW } else { Duration::from_secs(3) };
        try_next(edge.runtime(), port, target, window).await;
        end(edge).await;
        if is_late {
            let_pass(window).await;
        }
        let edge = Edge::start(config_without_server(folder.path())).await.unwrap();
        if !is_late {
            assert_eq!(edge.runtime().status().confirmation, Confirmation::Awaited);
            ping(&mut connect(port + 1).await, b"on trial").await;
        }
        let status = wait_for(edge.runtime(), |status| status.confirmation == Confirmation::Missed).await;
        assert_eq!(status.accepted.generation, 2);
        ping(&mut connect(port).await, b"as before").await;
        assert!(is_refused(port + 1).await);
        end(edge).await;
        // It does not forget that it returned.
        let edge = Edge::start(config_without_server(folder.path())).await.unwrap();
        assert_eq!(edge.runtime().status().confirmation, Confirmation::Missed);
        ping(&mut connect(port).await, b"still").await;
        end(edge).await;
    }
}
