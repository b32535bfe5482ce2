//! Endpoints by name, as the configured name servers have it.

use std::net::IpAddr;

use super::super::name_server::{Answer, NameServer as Asked};
use super::*;

fn by_names_of(server: &Asked) -> Client {
    Client::new(&loopback(), &[NameServer(server.address)], LONG, CAP).unwrap()
}

#[tokio::test]
async fn an_endpoint_is_reached_where_the_name_servers_say() {
    let server = Asked::start(|name, _| match name {
        "hooks.example" | "hooks" | "xn--bcher-kva.example" => {
            Answer::Addresses(vec!["127.0.0.1".parse().unwrap()])
        }
        _ => Answer::NoSuchName,
    })
    .await;
    let client = by_names_of(&server);
    let url = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    for host in ["hooks.example", "hooks.example.", "hooks", "bücher.example"] {
        let url = url.replace("127.0.0.1", host);
        assert_eq!(post(&client, &url).await.unwrap().status, 200, "{host}");
    }
    let error = refusal_of(&client, &url.replace("127.0.0.1", "gone.example")).await;
    assert_eq!(error.class, ErrorClass::Dns);
    assert_eq!(error.to_string(), "`gone.example` has no address");
}

#[tokio::test]
async fn one_address_inside_refuses_all_and_only_what_was_judged_is_dialled() {
    let addresses =
        |list: &[&str]| -> Vec<IpAddr> { list.iter().map(|text| text.parse().unwrap()).collect() };
    let mixed = addresses(&["127.0.0.1", "10.0.0.5"]);
    let mapped = addresses(&["::ffff:10.0.0.5"]);
    let server = Asked::start(move |name, _| match name {
        "mixed.example" => Answer::Addresses(mixed.clone()),
        "mapped.example" => Answer::Addresses(mapped.clone()),
        // Kept for no time, so that a second look-up would come elsewhere.
        _ => Answer::Kept(vec!["127.0.0.1".parse().unwrap()], 0),
    })
    .await;
    let client = by_names_of(&server);
    let url = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    for host in ["mixed.example", "mapped.example"] {
        let error = refusal_of(&client, &url.replace("127.0.0.1", host)).await;
        assert_eq!(error.class, ErrorClass::Blocked, "{host}: {error}");
        assert!(!error.to_string().contains("10.0"), "{error}");
    }
    let url = url.replace("127.0.0.1", "rebinding.example");
    assert_eq!(post(&client, &url).await.unwrap().status, 200);
    assert_eq!(server.asked("rebinding.example", 1), 1);
}

#[tokio::test]
async fn a_port_that_is_not_https_leads_into_allowed_networks_alone() {
    let server = Asked::start(|name, _| match name {
        "inside.example" => Answer::Addresses(vec!["127.0.0.1".parse().unwrap()]),
        "both.example" => {
            let both = ["127.0.0.1", "8.8.8.8"].map(|text| text.parse().unwrap());
            Answer::Addresses(both.to_vec())
        }
        _ => Answer::Addresses(vec!["8.8.8.8".parse().unwrap()]),
    })
    .await;
    let client = by_names_of(&server);
    let url = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let inside = url.replace("127.0.0.1", "inside.example");
    assert_eq!(post(&client, &inside).await.unwrap().status, 200);
    for host in ["public.example", "both.example"] {
        let error = refusal_of(&client, &url.replace("127.0.0.1", host)).await;
        assert_eq!(error.class, ErrorClass::Blocked, "{host}: {error}");
        assert!(
            error.to_string().contains("security.allow_ports"),
            "{error}"
        );
    }
}
