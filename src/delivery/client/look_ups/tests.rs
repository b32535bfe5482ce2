//! Look-ups against name servers that answer, refuse, forge, or say nothing.

use std::net::SocketAddr;
use std::path::Path;

use hickory_proto::op::{Message, Query};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;
use tokio::time::{advance, pause, resume};

use super::super::name_server::{Answer, NameServer};
use super::super::system_names::NameServer as Configured;
use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// With these name servers, on a machine without files of its own.
fn look_ups(servers: &[SocketAddr]) -> Arc<LookUps> {
    look_ups_with(servers, Path::new("/nowhere"))
}

fn look_ups_with(servers: &[SocketAddr], files: &Path) -> Arc<LookUps> {
    let servers: Vec<Configured> = servers.iter().copied().map(Configured).collect();
    let (hosts, resolv_conf) = (files.join("hosts"), files.join("resolv.conf"));
    LookUps::new(SystemNames::of_files(&servers, hosts, resolv_conf))
}

async fn resolved(look_ups: &Arc<LookUps>, name: &str) -> Result<Vec<IpAddr>, LookUpError> {
    look_ups.look_up(name).await.map(|found| found.to_vec())
}

async fn pass(time: Duration) {
    pause();
    advance(time).await;
    resume();
}

/// A port where no server listens.
async fn closed() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.local_addr().unwrap()
}

#[tokio::test]
async fn a_name_is_asked_for_once_and_known_for_a_while() {
    let server = NameServer::start(|name, _| match name {
        "gone.example" => Answer::NoSuchName,
        "restless.example" => Answer::Kept(vec![ip("8.8.8.8")], 0),
        "stable.example" => Answer::Kept(vec![ip("8.8.8.8")], 86_400),
        _ => Answer::Addresses(vec![ip("2001:4860:4860::8888"), ip("8.8.8.8")]),
    })
    .await;
    let look_ups = look_ups(&[server.address]);
    let asked = |name: &str| (server.asked(name, 1), server.asked(name, 28));

    let both = Ok(vec![ip("8.8.8.8"), ip("2001:4860:4860::8888")]);
    let first = look_ups.look_up("a.example");
    assert!(first.ptr_eq(&look_ups.look_up("a.example")));
    assert_eq!(first.await.map(|found| found.to_vec()), both);
    assert_eq!(resolved(&look_ups, "a.example").await, both);
    assert_eq!(asked("a.example"), (1, 1));
    pass(Duration::from_secs(61)).await;
    assert_eq!(resolved(&look_ups, "a.example").await, both);
    assert_eq!(asked("a.example"), (2, 2));

    for (name, holds) in [
        ("restless.example", SHORTEST),
        ("stable.example", LONGEST),
        ("gone.example", FAILURE),
    ] {
        let expected = match name {
            "gone.example" => Err(LookUpError::Empty),
            _ => Ok(vec![ip("8.8.8.8")]),
        };
        assert_eq!(resolved(&look_ups, name).await, expected);
        pass(holds - Duration::from_secs(1)).await;
        assert_eq!(resolved(&look_ups, name).await, expected);
        assert_eq!(asked(name), (1, 1), "{name}");
        pass(Duration::from_secs(1)).await;
        assert_eq!(resolved(&look_ups, name).await, expected);
        assert_eq!(asked(name), (2, 2), "{name}");
    }
}

#[tokio::test]
async fn a_name_is_asked_for_as_it_is_written() {
    let server = NameServer::start(|name, _| match name {
        "hooks" | "hooks.example" | "my_hook.example" | "xn--bcher-kva.example" => {
            Answer::Addresses(vec![ip("8.8.8.8")])
        }
        _ => Answer::NoSuchName,
    })
    .await;
    let files = tempfile::tempdir().unwrap();
    let hosts = "8.8.4.4 listed.example\n";
    std::fs::write(files.path().join("hosts"), hosts).unwrap();
    let text = "nameserver 192.0.2.1\nsearch corp.example\noptions ndots:5\n";
    std::fs::write(files.path().join("resolv.conf"), text).unwrap();
    let look_ups = look_ups_with(&[server.address], files.path());
    let found = Ok(vec![ip("8.8.8.8")]);
    for name in [
        "hooks",
        "hooks.example",
        "my_hook.example",
        "xn--bcher-kva.example",
    ] {
        assert_eq!(resolved(&look_ups, name).await, found, "{name}");
        // It is absolute with the dot and without.
        assert_eq!(resolved(&look_ups, &format!("{name}.")).await, found);
        assert_eq!(server.asked(name, 1), 1, "{name}");
    }
    // Not one of the system's search domains was tried.
    let missing = resolved(&look_ups, "missing").await;
    assert_eq!(missing, Err(LookUpError::Empty));
    assert_eq!(server.asked("missing.corp.example", 1), 0);

    let listed = resolved(&look_ups, "listed.example").await;
    assert_eq!(listed, Ok(vec![ip("8.8.4.4")]));
    assert_eq!(server.asked("listed.example", 28), 0);
    for name in ["a..example", &"x".repeat(64)] {
        let failed = resolved(&look_ups, name).await;
        assert_eq!(failed, Err(LookUpError::Failed(DnsError::Name)), "{name}");
    }
}

#[tokio::test]
async fn the_next_server_is_asked_where_one_refuses_is_away_or_silent() {
    let answering = NameServer::start(|_, _| Answer::Addresses(vec![ip("8.8.8.8")])).await;
    let failing = NameServer::start(|_, _| Answer::Failure).await;
    let silent = NameServer::start(|_, _| Answer::Silence).await;
    let closed = closed().await;
    let found = Ok(vec![ip("8.8.8.8")]);
    for bad in [failing.address, silent.address, closed] {
        let look_ups = look_ups(&[bad, answering.address]);
        assert_eq!(resolved(&look_ups, "a.example").await, found, "{bad}");
    }
    assert_eq!(silent.asked("a.example", 1), 1);

    let refused = resolved(&look_ups(&[failing.address, closed]), "a.example").await;
    let unreachable = DnsError::Unreachable(std::io::ErrorKind::ConnectionRefused);
    assert_eq!(refused, Err(LookUpError::Failed(unreachable)));
    let began = Instant::now();
    let nothing = resolved(&look_ups(&[silent.address]), "a.example").await;
    assert_eq!(nothing, Err(LookUpError::Silent));
    assert!(began.elapsed() < LOOK_UP * 2, "{:?}", began.elapsed());
    assert!(silent.asked("a.example", 1) > 2, "asked again");
}

#[tokio::test]
async fn one_family_does_where_the_other_is_not_answered() {
    let server = NameServer::start(|name, record_type| match (name, record_type) {
        ("four.example", 1) => Answer::Addresses(vec![ip("8.8.8.8")]),
        ("six.example", 28) => Answer::Addresses(vec![ip("2001:4860:4860::8888")]),
        ("refused.example", 1) => Answer::Addresses(vec![ip("8.8.8.8")]),
        ("refused.example", _) => Answer::Failure,
        ("long.example", _) => Answer::TooLong(vec![ip("8.8.8.8"), ip("8.8.4.4")]),
        _ => Answer::Silence,
    })
    .await;
    let look_ups = look_ups(&[server.address]);
    for (name, expected) in [
        ("four.example", vec![ip("8.8.8.8")]),
        ("six.example", vec![ip("2001:4860:4860::8888")]),
        ("refused.example", vec![ip("8.8.8.8")]),
        ("long.example", vec![ip("8.8.8.8"), ip("8.8.4.4")]),
    ] {
        assert_eq!(resolved(&look_ups, name).await, Ok(expected), "{name}");
    }
}

/// The server is on this thread, and may not have read all yet that was sent to it.
async fn eventually(holds: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(20), "it never holds");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn names_that_no_server_answers_for_wait_for_each_other_alone() {
    let server = NameServer::start(|name, _| match name.strip_prefix("silent") {
        Some(_) => Answer::Silence,
        None => Answer::Addresses(vec![ip("8.8.8.8")]),
    })
    .await;
    let look_ups = look_ups(&[server.address]);
    let found = Ok(vec![ip("8.8.8.8")]);
    assert_eq!(resolved(&look_ups, "known.example").await, found);
    let silent: Vec<String> = (0..300).map(|n| format!("silent{n}.example")).collect();
    let asked = || {
        silent
            .iter()
            .filter(|name| server.asked(name, 1) > 0)
            .count()
    };

    // Of names that nothing is known of all are asked for at once …
    let first: Vec<UnderWay> = silent.iter().map(|name| look_ups.look_up(name)).collect();
    assert_eq!(resolved(&look_ups, "new.example").await, found);
    eventually(|| asked() == 300).await;
    for look_up in first {
        assert_eq!(look_up.await, Err(LookUpError::Silent));
    }
    assert_eq!(look_ups.look_up(&silent[0]).await, Err(LookUpError::Silent));

    // … and then so many.
    pass(LONGEST).await;
    server.forget();
    let second: Vec<UnderWay> = silent.iter().map(|name| look_ups.look_up(name)).collect();
    for name in ["known.example", "newer.example"] {
        assert_eq!(resolved(&look_ups, name).await, found);
    }
    eventually(|| asked() >= UNANSWERED_AT_ONCE).await;
    assert_eq!(asked(), UNANSWERED_AT_ONCE);
    for look_up in second {
        let result = look_up.await;
        assert!(matches!(
            result,
            Err(LookUpError::Silent | LookUpError::Crowded)
        ));
    }
    assert_eq!(look_ups.unanswered.available_permits(), UNANSWERED_AT_ONCE);
}

#[tokio::test]
async fn what_answers_another_question_is_not_believed() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let server = socket.local_addr().unwrap();
    let forger = tokio::spawn(async move {
        let mut buffer = [0; 512];
        let answer = |query: &Message, id: u16, name: &Name, address: [u8; 4]| {
            let mut answer = query.clone().into_response();
            answer.metadata.id = id;
            answer.queries = vec![Query::query(name.clone(), query.queries[0].query_type())];
            if query.queries[0].query_type() == RecordType::A {
                let data = RData::A(A(address.into()));
                answer.add_answer(Record::from_rdata(name.clone(), 60, data));
            }
            answer.to_vec().unwrap()
        };
        loop {
            let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
            let query = Message::from_vec(&buffer[..length]).unwrap();
            let (id, name) = (query.metadata.id, query.queries[0].name().clone());
            let other = Name::from_ascii("b.example.").unwrap();
            for forged in [
                answer(&query, id.wrapping_add(1), &name, [6, 6, 6, 6]),
                answer(&query, id, &other, [6, 6, 6, 6]),
                buffer[..length].to_vec(),
                b"nonsense".to_vec(),
                answer(&query, id, &name, [8, 8, 8, 8]),
            ] {
                socket.send_to(&forged, from).await.unwrap();
            }
        }
    });
    let found = resolved(&look_ups(&[server]), "a.example").await;
    assert_eq!(found, Ok(vec![ip("8.8.8.8")]));
    forger.abort();
}
