use super::*;
use kit::scripted::{Received, Server};
use std::sync::atomic::AtomicUsize;

const RAY_NODE: &str = include_str!("../../../tests/fixtures/observe/ray_node_2.60.txt");

fn watching(urls: &[String], headers: &[&str]) -> Scraper {
    let urls: Vec<MetricsUrl> = urls.iter().map(|url| url.parse().expect(url)).collect();
    let headers: Vec<_> = headers.iter().map(|header| header.parse().expect("a header")).collect();
    let access = Access::new(&crate::plan::environment::Environment::default(), &headers, false).expect("headers");
    Scraper::watching(&urls, &access, Some(Duration::ZERO)).expect("a client")
}

async fn serving(path: &'static str, page: &'static str) -> Server {
    Server::start(move |request: Received, mut answer| async move {
        let known = request.path() == path && request.header("x-tenant") == Some("blue");
        answer.whole(if known { "200 OK" } else { "404 Not Found" }, if known { page } else { "" }).await;
        Some(answer)
    })
    .await
}

fn told(fleet: &FleetSnapshot, name: &str) -> Vec<(String, Option<f64>)> {
    fleet.engines.iter().map(|e| (e.name.clone(), e.metrics.as_ref().ok().and_then(|m| m.sum(name, &[])))).collect()
}

#[tokio::test]
async fn replicas_on_a_rays_page_are_told_apart_by_their_deployment() {
    let server = serving("/metrics", RAY_NODE).await;
    let of = |role: &str, word: &str| format!("{role}={}{{deployment=~\"{word}:.*\"}}", server.url());
    let scraper = watching(&[of("prefill", "Prefill"), of("decode", "Decode")], &["x-tenant=blue"]);
    let fleet = scraper.snapshot().await;
    assert!(scraper.is_by_ray() && scraper.reads(Role::Decode) && !scraper.reads(Role::Replica));
    let [(prefill, produced), (decode, came)] = &told(&fleet, "vllm:external_prefix_cache_hits_total")[..] else {
        panic!("{fleet:?}")
    };
    assert!(prefill.starts_with("prefill-0 ") && decode.starts_with("decode-0 "), "{prefill} {decode}");
    assert!(produced.is_none() && came.is_some_and(|tokens| tokens > 0.0), "{produced:?} {came:?}");
    let transfers = told(&fleet, "vllm:nixl_xfer_time_seconds_count");
    assert!(transfers[1].1.is_some_and(|n| n > 0.0), "{transfers:?}");
    assert_eq!(fleet.hand_overs(), None, "their sums are made up");
}

#[tokio::test]
async fn a_page_without_counters_and_a_refusal_are_not_the_same() {
    let server = serving("/metrics", "python_info 1\n").await;
    let scraper = watching(&[server.url()], &["x-tenant=blue"]);
    let [ref empty] = scraper.snapshot().await.engines[..] else { panic!("one source") };
    assert!(empty.metrics.as_ref().is_err_and(is_without_counters));
    let scraper = watching(&[server.url()], &[]);
    let [ref refused] = scraper.snapshot().await.engines[..] else { panic!("one source") };
    let error = refused.metrics.as_ref().expect_err("refused");
    assert!(!is_without_counters(error) && error.to_string().contains("404"), "{error}");
}

/// What the API says, by the query; the age of the last scrape falls with every question.
async fn prometheus(ages: [&'static str; 3]) -> (Server, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let server = Server::start(move |request: Received, mut answer| {
        let asked = Arc::clone(&counter);
        async move {
            let path = request.path().to_string();
            let body = if path.contains("timestamp") {
                let age = ages[asked.fetch_add(1, Ordering::SeqCst).min(2)];
                format!(
                    r#"{{"status":"success","data":{{"resultType":"vector","result":[{{"metric":{{}},"value":[1,"{age}"]}}]}}}}"#
                )
            } else if path.contains("zone%3D%22a%22") {
                let one = |instance: &str, n: u32| {
                    format!(
                        r#"{{"metric":{{"__name__":"vllm:prompt_tokens_total","instance":"{instance}","zone":"a","engine":"0"}},"value":[1,"{n}"]}},
                       {{"metric":{{"__name__":"process_start_time_seconds","instance":"{instance}"}},"value":[1,"{}"]}}"#,
                        100 + n
                    )
                };
                format!(
                    r#"{{"status":"success","data":{{"resultType":"vector","result":[{},{}]}}}}"#,
                    one("b:1", 5),
                    one("a:1", 3)
                )
            } else {
                r#"{"status":"error","errorType":"bad_data","error":"no such thing"}"#.to_string()
            };
            answer.whole("200 OK", &body).await;
            Some(answer)
        }
    });
    (server.await, asked)
}

#[tokio::test]
async fn prometheus_is_waited_for_until_it_has_scraped_and_its_targets_are_engines() {
    let (server, asked) = prometheus(["30", "29.5", "0"]).await;
    let scraper = watching(&[format!("decode=prometheus+{}{{zone=\"a\"}}", server.url())], &[]);
    let fleet = scraper.settled().await;
    let tokens = told(&fleet, "vllm:prompt_tokens_total");
    let expected = [("decode-0 a:1".to_string(), Some(3.0)), ("decode-0 b:1".to_string(), Some(5.0))];
    assert_eq!(tokens, expected, "{fleet:?}");
    assert_eq!(fleet.engines[1].process_started(), Some(105.0));
    assert_eq!(asked.load(Ordering::SeqCst), 3, "until a scrape was as young as the question");
}

#[tokio::test]
async fn what_prometheus_refuses_is_told_in_its_words() {
    let (server, _) = prometheus(["0", "0", "0"]).await;
    let scraper = watching(&[format!("decode=prometheus+{}", server.url())], &[]);
    let [ref engine] = scraper.snapshot().await.engines[..] else { panic!("one source") };
    let error = engine.metrics.as_ref().expect_err("refused").to_string();
    assert!(error.contains("no such thing") && error.contains("decode=prometheus+http://"), "{error}");
}
