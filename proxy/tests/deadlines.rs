//! Clients that never finish what they begin.

mod support;

use std::time::Duration;

use support::*;
use topobench_proxy::Outcome;

const SHORT: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_head_that_never_ends_is_given_up_and_an_idle_connection_is_not() {
    let pair = Pair::with(|config| config.timeouts.client_head = SHORT).await;
    let mut idle = Client::connect(pair.proxy.addr()).await;
    let mut slow = Client::connect(pair.proxy.addr()).await;
    slow.send("GET /health HT").await;
    assert_eq!(slow.until_closed().await, b"");
    assert_eq!(idle.get("/health", "").await.status(), 200);
    // Between two requests it may wait as well.
    tokio::time::sleep(2 * SHORT).await;
    assert_eq!(idle.get("/health", "").await.status(), 200);
}

#[tokio::test]
async fn a_body_that_never_comes_gives_its_place_back() {
    for (idle, whole) in [(SHORT, LONG), (LONG, SHORT)] {
        let pair = Pair::with(|config| {
            config.limits.max_in_flight = 1;
            (config.timeouts.client_idle, config.timeouts.client_body) = (idle, whole);
        })
        .await;
        let mut slow = Client::connect(pair.proxy.addr()).await;
        slow.send("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{").await;
        assert_eq!(slow.answer().await.status(), 408);
        assert_eq!(outcome(&pair.proxy).await, Outcome::Refused { status: 408 });
        pair.at_rest().await;
        let mut next = posted(&pair.proxy, "", "{").await;
        assert_eq!(next.answer().await.status(), 400, "there is room again");
    }
}

#[tokio::test]
async fn a_body_too_large_is_refused_before_it_comes() {
    let pair = Pair::with(|config| config.limits.max_request_body = 1000).await;
    let mut client = Client::connect(pair.proxy.addr()).await;
    client.send("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999\r\n\r\n").await;
    assert_eq!(client.answer().await.status(), 413);
}

#[tokio::test]
async fn a_shutdown_waits_for_requests_and_not_for_those_who_may_send_one() {
    let mut pair = Pair::start().await;
    let (mut client, mut decode) = pair.decoding().await;
    let mut half = Client::connect(pair.proxy.addr()).await;
    half.send("POST /v1/comple").await;
    let mut served = Client::connect(pair.proxy.addr()).await;
    served.get("/health", "").await;
    served.send("GET /hea").await;
    let shutdown = tokio::spawn(async move {
        let drained = pair.proxy.shutdown(LONG).await;
        (pair, drained)
    });
    assert_eq!(half.until_closed().await, b"");
    assert_eq!(served.until_closed().await, b"");
    decode.reply("200 OK", "", "done").await;
    assert_eq!(client.answer().await.text(), "done");
    let (_pair, drained) = within(shutdown).await.unwrap();
    assert_eq!(drained.aborted, 0);
}
