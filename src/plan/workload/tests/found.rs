//! Datasets as people have them: other spellings, other coats, a damaged row among good ones.

use super::*;
use std::io::Write as _;

const QUESTION: &str = "a b c d e f";

fn hf(name: &str, content: &[u8]) -> Result<PreparedWorkload, WorkloadError> {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join(name);
    std::fs::write(&path, content).expect("written");
    let dataset = Dataset::Hf { path: path.display().to_string(), column: None, output_len: Some(TokenCount(4)) };
    prepare_texts(dataset, &load(1))
}

fn prompts(prepared: &PreparedWorkload) -> HashSet<String> {
    let mut all = HashSet::new();
    for (per_second, attempt) in [(2.0, 1), (4.0, 1), (2.0, 2), (4.0, 2)] {
        let schedule = prepared.schedule(rate(per_second), attempt).expect("schedules");
        all.extend(schedule.requests.iter().map(|r| match prepared.render(r) {
            Prompt::Text(text) => text,
            other => panic!("a text, not {other:?}"),
        }));
    }
    all
}

#[test]
fn sharegpt_comes_as_an_array_or_lines_in_anybodys_words() {
    let turns = |role: &str, user: &str, assistant: &str, text: &str| json!([{role: "system", text: "s"}, {role: user, text: QUESTION}, {role: assistant, text: "a b c d e"}]);
    let rows = [
        json!({"conversations": turns("from", "human", "gpt", "value")}),
        json!({"items": turns("from", "user", "bard", "value")}),
        json!({"messages": turns("role", "user", "assistant", "content")}),
        json!({"conversation": turns("role", "user", "assistant", "value")}),
    ];
    let lines: String = rows.iter().map(|row| row.to_string() + "\n").collect();
    for content in [json!(rows).to_string(), lines, json!({"data": rows}).to_string()] {
        let (_dir, path) = file("sharegpt.json", &content);
        let prepared =
            prepare_texts(Dataset::Sharegpt { path, output_len: None, multi_turn: None }, &load(1)).expect("prepares");
        assert_eq!((prepared.report().candidates, prepared.warnings().len()), (4, 0), "{content}");
        assert_eq!(prompts(&prepared), HashSet::from([QUESTION.to_string()]));
    }
}

#[test]
fn a_damaged_conversation_costs_itself_and_is_told() {
    let good = json!({"conversations": [{"from": "human", "value": QUESTION}, {"from": "gpt", "value": "a b c d"}]});
    let all = json!([good, {"conversations": null}, {"conversations": [{"from": "human"}]}, {"id": 4}, 5, good]);
    let (_dir, path) = file("sharegpt.json", &all.to_string());
    let dataset = |multi_turn| Dataset::Sharegpt { path: path.clone(), output_len: None, multi_turn };
    for multi_turn in [None, Some(2)] {
        let prepared = prepare_texts(dataset(multi_turn), &load(1)).expect("prepares");
        let told = prepared.warnings()[0].clone();
        assert!(told.contains("4 of 6 rows were skipped (row 2: no conversation"), "{told}");
        assert!(told.contains("row 3: `conversations`: turn 1 has no text"), "{told}");
    }
}

#[test]
fn marks_surrogates_and_other_encodings_are_read_or_named() {
    let row = format!("{{\"prompt\": \"{QUESTION}\"}}\n");
    let utf16: Vec<u8> = [0xfeff].into_iter().chain(row.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(row.as_bytes()).expect("packed");
    let zstd = ruzstd::encoding::compress_to_vec(row.as_bytes(), ruzstd::encoding::CompressionLevel::Fastest);
    let csv = format!("\u{feff}id;prompt\r\n1;{QUESTION}\r\n");
    for (name, content) in [
        ("d.jsonl", [b"\xef\xbb\xbf", row.as_bytes()].concat()),
        ("d.jsonl", utf16),
        ("d.jsonl.gz", gzip.finish().expect("packed")),
        ("d.json.zst", zstd),
        ("d.csv", csv.into_bytes()),
        ("d.tsv", format!("id\tprompt\n1\t{QUESTION}\n").into_bytes()),
        ("d.txt", format!("{QUESTION}\n\n").into_bytes()),
    ] {
        assert_eq!(prompts(&hf(name, &content).expect(name)), HashSet::from([QUESTION.to_string()]), "{name}");
    }
    let half = hf("d.jsonl", br#"{"prompt": "a b c \ud83d d"}"#).expect("reads");
    assert_eq!(prompts(&half), HashSet::from(["a b c \u{fffd} d".to_string()]));
    let latin = hf("d.jsonl", b"{\"prompt\": \"gr\xfc\xdfe\"}\n").expect_err("not UTF-8").to_string();
    assert!(latin.contains("line 1: it is not UTF-8"), "{latin}");
}

#[test]
fn a_bad_row_is_skipped_with_its_number_and_none_left_is_an_error() {
    let good = format!("{{\"prompt\": \"{QUESTION}\"}}\n");
    let some = hf("d.jsonl", format!("{good}not json\n{{\"x\": 1}}\n{good}").as_bytes()).expect("two are good");
    let told = &some.warnings()[0];
    assert!(
        told.contains("2 of 4 rows were skipped (line 2: it is not JSON") && told.contains("line 3: no text"),
        "{told}"
    );
    let none = hf("d.jsonl", b"not json\n{\"x\": 1}\n").expect_err("none").to_string();
    assert!(none.contains("none of its 2 rows") && none.contains("line 1") && none.contains("line 2"), "{none}");
}

#[test]
fn a_prompt_is_a_column_or_the_last_question_with_what_came_before() {
    for column in ["prompt", "input", "query", "problem", "content"] {
        let row = json!({"id": 1, column: QUESTION}).to_string();
        assert_eq!(prompts(&hf("d.jsonl", row.as_bytes()).expect(column)), HashSet::from([QUESTION.to_string()]));
    }
    let said = |role: &str, content: &str| json!({"role": role, "content": content});
    let row = json!({"messages": [said("system", "be brief"), said("user", "q"), said("assistant", "a"),
        said("user", QUESTION), said("assistant", "the answer")]});
    let (_dir, path) = file("d.jsonl", &row.to_string());
    let dataset = Dataset::Custom { path, output_len: None };
    let chat = Workload { endpoint: Endpoint::Chat, ..workload(dataset.clone()) };
    let tokenizer = byte_level(100);
    let context = PrepareContext::default();
    let prepared = PreparedWorkload::prepare_with(&chat, &load(1), context, Some(&tokenizer)).expect("prepares");
    let request = prepared.schedule(rate(2.0), 1).expect("schedules").requests[0];
    let Prompt::Messages(messages) = prepared.render(&request) else { panic!("a chat") };
    let roles: Vec<&str> = messages.iter().map(|m| m.role).collect();
    assert_eq!(roles, ["system", "user", "assistant", "user"]);
    assert_eq!(request.output_tokens.get(), tokenizer.count("the answer"));
    assert!(request.prompt_tokens.get() > tokenizer.count(QUESTION));
    let completions = prepare_texts(dataset, &load(1)).expect("prepares");
    assert_eq!(
        prompts(&completions),
        HashSet::from([format!("System: be brief\n\nUser: q\n\nAssistant: a\n\nUser: {QUESTION}\n\nAssistant:")])
    );
}

#[test]
fn a_folder_is_read_whole_and_files_about_it_are_not() {
    let dir = tempfile::tempdir().expect("tempdir");
    std::fs::create_dir(dir.path().join("data")).expect("made");
    for (name, text) in [
        ("data/a.jsonl", "{\"prompt\": \"a b c d\"}"),
        ("data/b.jsonl", "{\"prompt\": \"e f g h\"}\nbad"),
        ("dataset_info.json", "{}"),
        ("README.md", "words"),
    ] {
        std::fs::write(dir.path().join(name), text).expect("written");
    }
    let path = dir.path().display().to_string();
    let prepared =
        prepare_texts(Dataset::Hf { path, column: None, output_len: Some(TokenCount(4)) }, &load(1)).expect("prepares");
    assert_eq!(prepared.report().candidates, 2);
    assert!(prepared.warnings()[0].contains("b.jsonl, line 2: it is not JSON"), "{:?}", prepared.warnings());
}

#[test]
fn more_requests_than_prompts_are_told_before_anything_is_sent() {
    let prepared = hf("d.jsonl", format!("{{\"prompt\": \"{QUESTION}\"}}\n").as_bytes()).expect("prepares");
    let told = &prepared.warnings()[0];
    assert!(told.contains("needs 4 prompts and the dataset has 1 that can"), "{told}");
}

#[test]
#[cfg(feature = "parquet")]
fn parquet_is_read_by_column() {
    let prepared = hf("d.parquet", &parquet_of(&["a b c d", "e f g h"])).expect("prepares");
    assert_eq!(prepared.report().candidates, 2);
    assert!(prompts(&prepared).contains("a b c d"));
    let damaged = hf("d.parquet", &parquet_of(&["a b c d"])[..40]).expect_err("cut off").to_string();
    assert!(damaged.contains("d.parquet") && damaged.contains("not written or copied whole"), "{damaged}");
    let stub = hf("d.parquet", b"PAR1 and a few").expect_err("no end").to_string();
    assert!(stub.contains("not written or copied whole"), "{stub}");
}

/// A file with one column `prompt`.
#[cfg(feature = "parquet")]
fn parquet_of(prompts: &[&str]) -> Vec<u8> {
    use parquet::data_type::{ByteArray, ByteArrayType};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;
    let schema = parse_message_type("message rows { required binary prompt (UTF8); }").expect("a schema");
    let codec = parquet::basic::Compression::SNAPPY;
    let properties = WriterProperties::builder().set_compression(codec).build();
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema.into(), properties.into()).expect("a writer");
    let mut group = writer.next_row_group().expect("a group");
    let mut column = group.next_column().expect("a column").expect("there is one");
    let values: Vec<ByteArray> = prompts.iter().map(|p| ByteArray::from(*p)).collect();
    column.typed::<ByteArrayType>().write_batch(&values, None, None).expect("written");
    column.close().expect("closed");
    group.close().expect("closed");
    writer.close().expect("closed");
    bytes
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn no_bytes_are_too_odd(bytes: Vec<u8>, cut in 0usize..200, ending in 0usize..5) {
        let name = ["d.json", "d.csv", "d.txt", "d.parquet", "d.jsonl.gz"][ending];
        let good = json!([{"prompt": QUESTION, "messages": [{"role": "user", "content": [1, null]}]}]).to_string();
        let mixed = [&good.as_bytes()[..cut.min(good.len())], &bytes].concat();
        // Whatever it is, it is read or refused in words.
        if let Err(error) = hf(name, &mixed) {
            proptest::prop_assert!(error.to_string().contains(name));
        }
    }
}
