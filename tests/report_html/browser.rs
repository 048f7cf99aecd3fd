//! The page in a browser. Where no Chromium is on the PATH, nothing is tested here, and the output says so.

use super::support::Study;
use std::process::Command;
use topobench::outcome::Outcome;
use topobench::units::{E2el, Tpot};

/// The document after its scripts ran, opened with a fragment; `None` without a browser.
fn opened(study: &Study, fragment: &str) -> Option<String> {
    browsed(&study.page().expect("a page"), fragment)
}

/// The same after the script `hands` has done what a reader would.
fn handled(study: &Study, hands: &str) -> Option<String> {
    let page = study.page().expect("a page");
    let (before, policy) = page.split_once("<meta http-equiv=\"Content-Security-Policy\"").expect("a policy");
    let (_, after) = policy.split_once('>').expect("its end");
    // The page's policy would, rightly, not let this script run.
    let page = format!("{before}{after}").replace("</body>", &format!("<script>{hands}</script></body>"));
    browsed(&page, "")
}

fn browsed(page: &str, fragment: &str) -> Option<String> {
    let Ok(browser) = which::which("chromium") else {
        eprintln!("SKIPPED: no `chromium` on PATH, the page was not opened");
        return None;
    };
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("report.html");
    std::fs::write(&path, page).expect("written");
    let out = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"])
        .args([
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--virtual-time-budget=20000",
        ])
        .arg(format!("--user-data-dir={}", dir.path().join("profile").display()))
        .args(["--dump-dom", &format!("file://{}#{fragment}", path.display())])
        .output()
        .expect("the browser starts");
    let dom = String::from_utf8(out.stdout).expect("text");
    assert!(dom.contains("</html>"), "a document came back: {}", String::from_utf8_lossy(&out.stderr));
    Some(dom)
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
    study.question.slo.tpot = Tpot::from_millis(8.123_456_789);
    study.question.slo.e2el = Some(E2el::from_millis(1100.0));
    let dom = opened(&study, "selftest").expect("the browser is there");
    assert_eq!(text(&dom, "selftest-result"), "selftest: ok (2 arms, 6 points)");
}

#[test]
fn failures_repeats_and_odd_rates_are_judged_alike() {
    let study = Study::odd();
    let Some(dom) = opened(&study, "selftest") else { return };
    assert_eq!(text(&dom, "selftest-result"), "selftest: ok (2 arms, 12 points)");
    assert!(dom.contains("30 unrecorded") && dom.contains("20 connect"));
}

#[test]
fn the_selftest_finds_a_difference() {
    let mut study = Study::recorded();
    // Judged before one more request was lost: the report's numbers are no longer those of the requests.
    study.points[0][2].records[0].outcome = Outcome::Unfinished;
    study.record();
    let Some(dom) = opened(&study, "selftest") else { return };
    let result = text(&dom, "selftest-result");
    assert!(result.contains("differences") && result.contains("simple TP2 at 8 req/s, attempt 1, both"), "{result}");
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
    assert!(
        verdict.contains(
            "nixl 1P1D still meets 90 % attainment (TTFT 250 ms, TPOT 9 ms) at 8 req/s, the highest rate tested"
        ),
        "{verdict}"
    );
    for scale in ["1.133", "0.964"] {
        assert!(dom.contains(&format!("<td>{scale}</td>")), "scale {scale} at 8 req/s");
    }
    assert!(dom.contains("class=\"line both\""), "the charts are drawn");
    assert!(dom.contains("class=\"dots missed\""), "and the requests");
}

#[test]
fn an_address_that_makes_no_sense_changes_nothing() {
    let Some(dom) = opened(&Study::imported().alone(), "ttft=-5&tpot=x&target=400&rate=77") else { return };
    assert!(text(&dom, "answer-verdict").contains("at 90 % attainment (TTFT 250 ms, TPOT 9 ms)"));
    assert!(!text(&dom, "answer-origin").contains("Recomputed"));
}

#[test]
fn a_name_full_of_markup_runs_nothing() {
    let mut study = Study::recorded();
    study.arms[0].label = "</script><script>document.title='broken'</script><b onclick=1>".to_string();
    let Some(dom) = opened(&study, "selftest") else { return };
    assert!(text(&dom, "selftest-result").starts_with("selftest: ok"));
    assert!(!dom.contains("<title>broken"));
}

#[test]
fn sliders_entries_legend_and_keys_do_what_they_say() {
    let hands = r##"
        const entry = document.getElementById("ttft-number");
        entry.value = "150";
        entry.dispatchEvent(new Event("input"));
        const slider = document.getElementById("tpot-slider");
        slider.value = "1000";
        slider.dispatchEvent(new Event("input"));
        const lines = () => document.querySelectorAll("#rate-chart .line").length;
        const before = lines();
        document.querySelector("#legend button").click();
        const chart = document.querySelector("#rate-chart svg");
        for (const key of ["ArrowRight", "ArrowRight"]) chart.dispatchEvent(new KeyboardEvent("keydown", { key }));
        const told = document.querySelector("#rate-chart [role=status]").textContent;
        document.title = [before, lines(), told, location.hash].join("|");"##;
    let Some(dom) = handled(&Study::imported(), hands) else { return };
    let (_, rest) = dom.split_once("<title>").expect("a title");
    let title: Vec<&str> = rest.split_once('<').expect("its end").0.split('|').collect();
    assert_eq!(title[..2], ["6", "5"], "a line was hidden");
    assert!(title[2].starts_with("5 req/s: simple TP2, TTFT only 98.0 %"), "{}", title[2]);
    // The slider ends at four times the report's limit, or at twice the longest latency.
    assert!(title[3].starts_with("#ttft=150&amp;tpot=36&amp;target=90"), "{}", title[3]);
    assert!(text(&dom, "answer-verdict").contains("TTFT 150 ms"), "{}", text(&dom, "answer-verdict"));
    assert!(!dom.contains("id=\"reset\" disabled"), "there is something to reset");
}

#[test]
fn copy_buttons_copy_or_else_select_their_command() {
    let hands = r##"
        const first = document.querySelector("#reproduce .command");
        const [button, code] = [first.querySelector("button"), first.querySelector("code").textContent];
        const pressed = async (writeText) => {
            Object.defineProperty(navigator, "clipboard", { value: { writeText }, configurable: true });
            button.click();
            await new Promise((done) => setTimeout(done));
            return button.textContent;
        };
        (async () => {
            let copied = "";
            const allowed = await pressed(async (text) => { copied = text; });
            const refused = await pressed(async () => { throw new Error("not here"); });
            const selected = getSelection().toString();
            document.title = [allowed, copied === code, refused, selected === code, code.startsWith("topobench ab")].join("|");
        })();"##;
    let Some(dom) = handled(&Study::recorded(), hands) else { return };
    let (_, rest) = dom.split_once("<title>").expect("a title");
    assert!(rest.starts_with("Copied|true|Selected|true|true<"), "{}", &rest[..60]);
    assert!(dom.contains(">Copy</button>"), "the button offers itself again");
}

#[test]
fn every_slider_moves_attainment_and_verdict_and_reset_brings_both_back() {
    let hands = r##"
        const told = () => document.getElementById("answer-verdict").textContent + document.getElementById("answer-table").textContent;
        const line = () => document.querySelector("#rate-chart .line").getAttribute("d");
        const seen = [told() + line()];
        for (const limit of ["ttft", "tpot", "target"]) {
            const slider = document.getElementById(`${limit}-slider`);
            slider.value = slider.min;
            slider.dispatchEvent(new Event("input"));
            seen.push(told() + line());
            document.getElementById("reset").click();
            seen.push(told() + line());
        }
        document.title = seen.map((state) => seen.indexOf(state)).join(" ");"##;
    let Some(dom) = handled(&Study::imported(), hands) else { return };
    let (_, rest) = dom.split_once("<title>").expect("a title");
    // Each slider makes its own state, and every reset restores the first.
    assert!(rest.starts_with("0 1 0 3 0 5 0<"), "{}", &rest[..60]);
}
