//! The page in a browser. Where no Chromium is on the PATH, nothing is tested here, and the output says so.

use super::support::Study;
use std::path::Path;
use std::process::Command;
use topobench::units::E2el;

/// The document after its scripts ran, opened with a fragment; `None` without a browser.
fn opened(study: &Study, fragment: &str) -> Option<String> {
    let Ok(browser) = which::which("chromium") else {
        eprintln!("SKIPPED: no `chromium` on PATH, the page was not opened");
        return None;
    };
    let dir = tempfile::tempdir().expect("tempdir");
    let page = dir.path().join("report.html");
    study.write(&page);
    let out = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"])
        .args([
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--virtual-time-budget=20000",
        ])
        .arg(format!("--user-data-dir={}", dir.path().join("profile").display()))
        .args(["--dump-dom", &address(&page, fragment)])
        .output()
        .expect("the browser starts");
    let dom = String::from_utf8(out.stdout).expect("text");
    assert!(dom.contains("</html>"), "a document came back: {}", String::from_utf8_lossy(&out.stderr));
    Some(dom)
}

fn address(page: &Path, fragment: &str) -> String {
    format!("file://{}#{fragment}", page.display())
}

/// Text between an element's start, found by its id, and the next tag.
fn text<'a>(dom: &'a str, id: &str) -> &'a str {
    let (_, rest) = dom.split_once(&format!("id=\"{id}\"")).unwrap_or_else(|| panic!("no element {id}"));
    rest.split_once('>').and_then(|(_, rest)| rest.split_once('<')).expect("an element").0
}

#[test]
fn the_page_finds_the_reports_numbers_again() {
    let mut study = Study::recorded();
    let Some(dom) = opened(&study, "selftest") else { return };
    assert_eq!(text(&dom, "selftest-result"), "selftest: ok (2 arms, 6 points)");
    // Limits finer than the page's units, and a third one.
    study.question.slo.tpot = topobench::units::Tpot::from_millis(8.123_456_789);
    study.question.slo.e2el = Some(E2el::from_millis(1100.0));
    let dom = opened(&study, "selftest").expect("the browser is there");
    assert_eq!(text(&dom, "selftest-result"), "selftest: ok (2 arms, 6 points)");
}

#[test]
fn another_slo_in_the_address_gives_its_crossings() {
    let Some(dom) = opened(&Study::imported(), "ttft=150&tpot=10") else { return };
    let verdict = text(&dom, "answer-verdict");
    assert!(verdict.contains("TTFT 150 ms, TPOT 10 ms"), "{verdict}");
    assert!(verdict.contains("simple TP2 carries 7.29 req/s"), "{verdict}");
    assert!(verdict.contains("nixl 1P1D misses the target already at the lowest rate tested, 2 req/s"), "{verdict}");
    assert!(text(&dom, "answer-origin").contains("without intervals"));
}

#[test]
fn the_reports_own_slo_is_what_is_shown_first() {
    let Some(dom) = opened(&Study::imported(), "") else { return };
    let verdict = text(&dom, "answer-verdict");
    assert!(verdict.contains("simple TP2 carries 6.68 req/s"), "{verdict}");
    assert!(verdict.contains("nixl 1P1D still meets the target at the highest rate tested, 8 req/s"), "{verdict}");
    for scale in ["1.133", "0.964"] {
        assert!(dom.contains(&format!("<td>{scale}</td>")), "scale {scale} at 8 req/s");
    }
    assert!(dom.contains("class=\"line both\""), "the charts are drawn");
    assert!(dom.contains("class=\"dots missed\""), "and the requests");
}

#[test]
fn an_address_that_makes_no_sense_changes_nothing() {
    let Some(dom) = opened(&Study::imported().alone(), "ttft=-5&tpot=x&target=400&rate=77") else { return };
    assert!(text(&dom, "answer-verdict").contains("TTFT 250 ms, TPOT 9 ms"));
    assert!(text(&dom, "answer-verdict").contains("at 90 %") || text(&dom, "answer-verdict").contains("At 90 %"));
}

#[test]
fn a_name_full_of_markup_runs_nothing() {
    let mut study = Study::recorded();
    study.arms[0].label = "</script><script>document.title='broken'</script><b onclick=1>".to_string();
    let Some(dom) = opened(&study, "selftest") else { return };
    assert!(text(&dom, "selftest-result").starts_with("selftest: ok"));
    assert!(!dom.contains("<title>broken"));
}
