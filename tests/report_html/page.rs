//! The page's source.

use super::support::Study;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use topobench::outcome::{Failure, Outcome};
use topobench::report::html::HtmlError;
use topobench::units::E2el;

/// The data that the page's script reads.
fn data(page: &str) -> Value {
    let (_, rest) = page.split_once("id=\"data\">").expect("a data element");
    let (json, _) = rest.split_once("</script>").expect("its end");
    serde_json::from_str(json).expect("JSON")
}

fn column(text: &Value) -> Vec<u32> {
    let bytes = STANDARD.decode(text.as_str().expect("a column")).expect("base64");
    bytes.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().expect("four bytes"))).collect()
}

#[test]
fn the_same_results_give_the_same_bytes() {
    assert_eq!(Study::recorded().page().expect("a page"), Study::recorded().page().expect("a page"));
}

/// They stay in `target/tmp/report_html/` to be looked at.
#[test]
fn every_study_makes_a_page_of_its_title() {
    let dir = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("report_html");
    std::fs::create_dir_all(&dir).expect("a directory");
    let studies = [
        ("report", Study::recorded()),
        ("imported", Study::imported()),
        ("odd", Study::odd()),
        ("large", Study::large()),
        ("alone", Study::recorded().alone()),
    ];
    for (name, study) in studies {
        let page = study.page().expect("a page");
        std::fs::write(dir.join(format!("{name}.html")), &page).expect("written");
        assert!(page.contains(&format!("<title>{}</title>", study.title)), "{name}");
    }
}

#[test]
fn names_that_look_like_markup_stay_text() {
    let hostile = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&\u{2028}";
    let mut study = Study::recorded();
    study.title = hostile.to_string();
    study.command = vec![hostile.to_string()];
    for points in &mut study.points {
        points[0].records[0].outcome = Outcome::Failed(Failure::Protocol { detail: hostile.to_string() });
    }
    study.record();
    for (run, arm) in study.runs.iter_mut().zip(&mut study.arms) {
        arm.label = hostile.to_string();
        let manifest = run.manifest.as_mut().expect("a manifest");
        manifest.sweep.model = hostile.to_string();
        manifest.sweep.metadata.insert(hostile.to_string(), hostile.to_string());
        manifest.instances[0].argv.push(hostile.to_string());
    }
    let page = study.page().expect("a page");
    assert_eq!(page.matches("<script").count(), 2, "the data's and the page's own");
    assert_eq!(page.matches("</script").count(), 2);
    assert!(!page.contains("<img"), "no element out of a name");
    assert!(!page.contains('\u{2028}') || !data_text(&page).contains('\u{2028}'));
    assert!(data(&page)["arms"][0]["name"].as_str().expect("a name").starts_with(hostile), "and nothing is lost");
}

fn data_text(page: &str) -> &str {
    page.split_once("id=\"data\">").and_then(|(_, rest)| rest.split_once("</script>")).expect("data").0
}

#[test]
fn nothing_is_asked_of_any_server() {
    let page = Study::recorded().page().expect("a page");
    assert!(page.contains("default-src &#39;none&#39;"));
    for attribute in ["src=\"http", "href=\"http", "url(http", "@import", "src=\"//"] {
        assert!(!page.contains(attribute), "{attribute}");
    }
}

#[test]
fn every_request_is_in_the_page_in_whole_units() {
    let mut study = Study::recorded();
    study.points[0][0].records[3].outcome = Outcome::Failed(Failure::Shed { code: 429 });
    study.rejudge();
    let point = &study.points[0][0];
    let page = data(&study.page().expect("a page"));
    let shown = &page["arms"][0]["points"][0];
    let (ttft, tpot) = (column(&shown["ttft"]), column(&shown["tpot"]));
    assert_eq!((ttft.len(), ttft[3], tpot[3]), (20, u32::MAX, u32::MAX));
    for (record, (ttft, tpot)) in point.records.iter().zip(ttft.iter().zip(&tpot)).filter(|(r, _)| r.completed()) {
        let (t, p) = record.ttft().zip(record.tpot()).expect("served");
        assert!((f64::from(*ttft) / 1e6 - t.as_secs()).abs() < 1e-6, "TTFT in microseconds");
        assert!((f64::from(*tpot) / 1e7 - p.as_secs()).abs() < 1e-7, "TPOT in tenths of them");
    }
    let due = column(&page["dues"][shown["due"].as_u64().expect("an index") as usize]);
    assert!(due.is_sorted() && due.len() == 20);
}

#[test]
fn end_to_end_limits_bring_their_column() {
    let mut study = Study::recorded();
    assert!(data(&study.page().expect("a page"))["arms"][0]["points"][0].get("e2el").is_none());
    study.question.slo.e2el = Some(E2el::from_millis(1500.0));
    let page = study.page().expect("a page");
    assert_eq!(column(&data(&page)["arms"][0]["points"][0]["e2el"]).len(), 20);
    assert!(page.contains("e2el-slider"));
}

#[test]
fn a_run_that_changed_after_it_was_judged_is_refused() {
    let mut study = Study::recorded();
    study.points[1][0].records.pop();
    study.points[1][0].facts = None;
    study.record();
    let error = study.page().expect_err("stale");
    assert!(matches!(error, HtmlError::Stale { judged: 20, recorded: 19, .. }), "{error}");
    study.runs.pop();
    assert!(matches!(study.page(), Err(HtmlError::Arms { compared: 2, given: 1 })));
}

#[test]
fn secrets_stay_masked_and_differences_are_marked() {
    let page = Study::recorded().page().expect("a page");
    assert!(!page.contains("hf_never_to_be_seen") && page.contains("HF_TOKEN=***"));
    let differs = |name: &str| page.contains(&format!("<span class=\"hidden\">differs: </span>{name}<"));
    assert!(differs("Size") && differs("KV transfer"));
    assert!(!differs("Model") && !differs("Seed"), "the same for both");
    assert!(page.contains("2 KV transfers failed"), "why a point is invalid");
}

#[test]
fn one_run_alone_has_no_ratios() {
    let page = Study::recorded().alone().page().expect("a page");
    assert!(!page.contains(" against simple TP2"), "no column of ratios");
    assert!(page.contains("simple TP2 carries 6.68 req/s"), "the verdict");
}

#[test]
fn imported_files_say_what_is_not_known() {
    let page = Study::imported().page().expect("a page");
    assert!(page.contains("no evidence") && page.contains("/models/Qwen3-8B"));
    assert!(!page.contains("Engines as they were started"));
}

#[test]
fn a_large_comparison_stays_small() {
    let study = Study::large();
    let page = study.page().expect("a page");
    assert_eq!(data(&page)["arms"][1]["points"].as_array().map(Vec::len), Some(12));
    assert!(data_text(&page).len() < 400_000, "{} bytes of data", data_text(&page).len());
}

#[test]
fn where_the_time_goes_is_told_of_every_point() {
    let page = Study::recorded().page().expect("a page");
    let (_, section) = page.split_once("<section id=\"why\"").expect("the section");
    let section = section.split_once("</section>").expect("its end").0;
    assert_eq!(section.matches("<tr>").count(), 2 + 6, "a head of two lines and six points");
    assert!(section.contains("nothing missed") && section.contains("TPOT"));
    assert!(!section.contains("<td>0</td>"), "what nobody told is no zero");
}
