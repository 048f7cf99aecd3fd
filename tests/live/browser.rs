//! The page in a browser. Where no Chromium is on the PATH, nothing is tested here, and the output says so.

use crate::chromium::Chromium;
use crate::client::{HOSTILE, curated, hostile};
use topobench::live::{LiveServer, Watched};
use topobench::session::events::SessionEvent;

fn of(run: &std::path::Path) -> LiveServer {
    LiveServer::start(0, Watched::of(run).expect("a run"), false).expect("serves")
}

const NO_COMPLAINT: [String; 0] = [];

#[test]
fn a_run_is_shown_as_curves_lines_and_tables() {
    let Some(mut page) = Chromium::open(1280, false) else { return };
    let server = of(&curated("nixl_20261122_001955"));
    page.go(server.url());
    page.until("document.querySelectorAll('#curves-chart .marker').length === 5");
    page.until("document.getElementById('doing').textContent === 'nixl: completed'");
    page.until("document.title === 'nixl · topobench live'");
    page.until("document.querySelectorAll('#curves-chart .whisker').length === 5");
    page.until("document.querySelectorAll('#gpus-charts svg .series').length === 8");
    let table = page.value("document.getElementById('curves-table').textContent");
    let table = table.as_str().expect("text");
    assert!(table.contains("6 req/s89.7 %63.6 to 97.7300"), "{table}");
    let engines = page.value("document.getElementById('engines-table').textContent");
    assert!(engines.as_str().is_some_and(|text| text.contains("decode-0") && text.contains("prefill-0")), "{engines}");
    assert_eq!(page.complaints(), NO_COMPLAINT);
}

#[test]
fn it_fits_a_phone_and_follows_the_colours_that_its_reader_likes() {
    let Some(mut page) = Chromium::open(390, true) else { return };
    let server = of(&curated("nixl_20261122_001955"));
    page.go(server.url());
    page.until("document.querySelectorAll('#gpus-charts svg .series').length === 8");
    page.until("document.documentElement.scrollWidth <= innerWidth");
    let paper = page.value("getComputedStyle(document.body).backgroundColor");
    assert_eq!(paper, "rgb(23, 25, 28)");
    let inside = "[...document.querySelectorAll('.chart svg')].every((chart) => [...chart.querySelectorAll('text')].every((text) => { const [a, b] = [text.getBoundingClientRect(), chart.getBoundingClientRect()]; return a.left >= b.left - 1 && a.right <= b.right + 1; }))";
    assert_eq!(page.value(inside), true, "no text of a chart is cut off");
}

#[test]
fn names_and_logs_are_shown_as_the_text_that_they_are() {
    let Some(mut page) = Chromium::open(1280, false) else { return };
    let dir = tempfile::tempdir().expect("tempdir");
    let server = of(&hostile(dir.path()));
    page.go(server.url());
    page.until("document.querySelectorAll('#logs-all code').length === 1");
    page.until("document.querySelectorAll('#curves-chart .marker').length === 5");
    let text = |page: &mut Chromium, id: &str| page.value(&format!("document.getElementById('{id}').textContent"));
    assert_eq!(text(&mut page, "title"), HOSTILE);
    for id in ["facts", "logs-all", "curves-legend", "doing"] {
        let shown = text(&mut page, id);
        assert!(shown.as_str().is_some_and(|shown| shown.contains(HOSTILE)), "{id}: {shown}");
    }
    assert_eq!(page.value("document.querySelectorAll('img').length"), 0);
    assert_eq!(page.value("document.querySelectorAll('script').length"), 1);
    assert_ne!(page.value("document.title"), "broken");
    assert_eq!(page.complaints(), NO_COMPLAINT);
}

#[test]
fn keys_read_a_chart_out_and_a_reload_brings_all_of_it_back() {
    let Some(mut page) = Chromium::open(1280, false) else { return };
    let server = of(&curated("nixl_20261122_001955"));
    page.go(server.url());
    for _ in 0..2 {
        page.until("document.querySelectorAll('#curves-chart .marker').length === 5");
        page.until("document.querySelectorAll('#gpu-power .series').length === 2");
        let press = |chart: &str| {
            format!(
                "(() => {{ const host = document.getElementById('{chart}'); const chart = host.querySelector('svg'); chart.focus(); \
                 chart.dispatchEvent(new KeyboardEvent('keydown', {{ key: 'ArrowRight' }})); \
                 return host.querySelector('[role=status]').textContent; }})()"
            )
        };
        let read = page.value(&press("curves-chart"));
        assert_eq!(read, "4 req/s: nixl 1P1D 98.7 %, 89.4 to 99.8");
        let read = page.value(&press("gpu-power"));
        assert!(read.as_str().is_some_and(|t| t.starts_with("the end: GPU 0 ") && t.ends_with(" W")), "{read}");
        page.go(server.url());
        page.until("document.readyState === 'complete'");
    }
    let unnamed = "[...document.querySelectorAll('svg[tabindex], [role=region], progress, section')].filter((node) => !node.getAttribute('aria-label') && !node.getAttribute('aria-labelledby')).length";
    assert_eq!(page.value(unnamed), 0, "what can be focused has a name");
}

#[test]
fn what_is_being_done_is_told_politely_and_the_end_is_told() {
    let Some(mut page) = Chromium::open(1280, false) else { return };
    let server = LiveServer::start(0, Watched::Session, true).expect("serves");
    let sink = server.sink(std::sync::Arc::new(|_| {}));
    page.go(server.url());
    sink(SessionEvent::WarmingUp { arm: "simple".into(), requests: 5 });
    page.until("document.getElementById('doing').textContent === 'Warming up simple'");
    assert_eq!(page.value("document.getElementById('doing').getAttribute('role')"), "status");
    page.until("document.getElementById('told-lines').textContent.includes('warming up with 5 requests')");
    drop(server);
    page.until("document.getElementById('connection').textContent.startsWith('This is the last')");
}

#[test]
fn before_anything_is_measured_the_page_says_what_will_be() {
    let Some(mut page) = Chromium::open(390, false) else { return };
    let dir = tempfile::tempdir().expect("tempdir");
    let run = crate::client::copied("nixl_20261122_001955", dir.path());
    std::fs::remove_file(run.join("requests.jsonl.gz")).expect("removed");
    let path = run.join("manifest.json");
    let mut manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).expect("a manifest")).expect("JSON");
    (manifest["status"], manifest["points"]) = ("incomplete".into(), serde_json::json!([]));
    manifest["traces"] = serde_json::json!([]);
    std::fs::write(&path, manifest.to_string()).expect("written");
    let server = LiveServer::start(0, Watched::Session, true).expect("serves");
    let sink = server.sink(std::sync::Arc::new(|_| {}));
    page.go(server.url());
    sink(SessionEvent::RunCreated { arm: "nixl".into(), dir: run });
    sink(SessionEvent::Launching { arm: "nixl".into(), instances: 2 });
    sink(SessionEvent::EngineProgress {
        arm: "nixl".into(),
        instance: "decode-0".into(),
        phase: "loading weights".into(),
    });
    let row = "[...document.querySelectorAll('#arms-table tbody tr *')].map((cell) => cell.textContent).join('|')";
    page.until(&format!(
        "{row} === 'nixl|its engines are being started|0 of 5|4, 6, 8, 10, 12 req/s|2 engines on 2 GPUs'"
    ));
    page.until("document.getElementById('starting').textContent === 'decode-0 loading weights'");
    page.until("document.getElementById('counts').textContent.includes('of load, and what engines take to start')");
    page.until("document.querySelectorAll('#curves-chart svg').length === 1");
    page.until("document.documentElement.scrollWidth <= innerWidth");
    sink(SessionEvent::Ready { arm: "nixl".into(), secs: 1.0 });
    page.until("document.getElementById('starting').textContent === ''");
    assert_eq!(page.complaints(), NO_COMPLAINT);
}
