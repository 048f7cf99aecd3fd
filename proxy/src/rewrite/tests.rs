use super::*;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn prefill(body: &str) -> Value {
    serde_json::from_slice(&Inspected::new(body.as_bytes()).unwrap().prefill_body()).unwrap()
}

fn decode(body: &str, params: &str) -> String {
    let body = Bytes::copy_from_slice(body.as_bytes());
    let splice = Inspected::new(&body).unwrap().splice();
    let params = KvParams(Bytes::copy_from_slice(params.as_bytes()));
    String::from_utf8(splice.pieces(&body, params).concat()).unwrap()
}

fn refused(body: &str, route: Route) -> Option<&'static str> {
    let inspected = Inspected::new(body.as_bytes()).unwrap();
    inspected.unsupported(route).err().map(|unsupported| unsupported.param)
}

mod recorded {
    use super::*;

    macro_rules! fixture {
        ($name:literal) => {
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/handoff/", $name))
        };
    }

    fn check(client: &str, prefill_sent: &str, answer: &str, decode_sent: &str) {
        let recorded: Map<String, Value> = serde_json::from_str(prefill_sent).unwrap();
        let ours = prefill(client);
        for (key, value) in &recorded {
            assert_eq!(&ours[key], value, "{key}");
        }
        assert!(ours.get("stream_options").is_none());

        let body = Bytes::from_static(client.to_owned().leak().as_bytes());
        let params = KvParams::from_answer(&Bytes::copy_from_slice(answer.as_bytes())).unwrap();
        let ours = Inspected::new(&body).unwrap().splice().pieces(&body, params).concat();
        assert_eq!(String::from_utf8(ours).unwrap(), decode_sent);
    }

    #[test]
    fn a_completion_is_handed_over_as_vllm_accepted_it() {
        check(
            fixture!("completion_client.json"),
            fixture!("completion_prefill.json"),
            fixture!("completion_prefill_answer.json"),
            fixture!("completion_decode.json"),
        );
    }

    #[test]
    fn a_chat_is_handed_over_as_vllm_accepted_it() {
        check(
            fixture!("chat_client.json"),
            fixture!("chat_prefill.json"),
            fixture!("chat_prefill_answer.json"),
            fixture!("chat_decode.json"),
        );
    }
}

#[test]
fn prefill_asks_for_one_token_that_nothing_can_cut_short() {
    let body = r#"{"model":"m","prompt":"p","max_tokens":64,"max_completion_tokens":64,"min_tokens":8,"n":1,"best_of":1,
        "stop":["x"],"stop_token_ids":[7],"ignore_eos":false,"stream":true,"stream_options":{"include_usage":true}}"#;
    let sent = prefill(body);
    assert_eq!(sent["max_tokens"], 1);
    assert_eq!(sent["max_completion_tokens"], 1);
    assert_eq!(sent["n"], 1);
    assert_eq!(sent["stream"], false);
    assert_eq!(sent["ignore_eos"], true);
    assert_eq!(sent["kv_transfer_params"]["do_remote_decode"], true);
    for gone in ["min_tokens", "best_of", "stop", "stop_token_ids", "stream_options"] {
        assert!(sent.get(gone).is_none(), "{gone}");
    }
    assert!(prefill(r#"{"prompt":"p","max_tokens":64}"#).get("max_completion_tokens").is_none());
}

#[test]
fn odd_spellings_survive_both_bodies() {
    let odd = r#""a":1e999,"big":123456789012345678901234567890.10,"dup":1,"dup":2,"esc":"\ud83d\ude00\u0000é","k\u00e9\"y":[ 1 ,2 ]"#;
    let body = format!("{{{odd} }}\r\n");
    assert_eq!(decode(&body, r#"{"x":1}"#), format!("{{{odd} ,\"kv_transfer_params\":{{\"x\":1}}}}\r\n"));
    let sent = String::from_utf8(Inspected::new(body.as_bytes()).unwrap().prefill_body()).unwrap();
    let kept = r#"{"a":1e999,"big":123456789012345678901234567890.10,"dup":1,"dup":2,"esc":"\ud83d\ude00\u0000é","ké\"y":[ 1 ,2 ],"#;
    assert!(sent.starts_with(kept), "{sent}");
}

#[test]
fn the_splice_fits_an_empty_object_and_a_null_member() {
    assert_eq!(decode(" { } ", "{\"x\":1}"), " { \"kv_transfer_params\":{\"x\":1}} ");
    assert_eq!(
        decode(r#"{"kv_transfer_params": null, "prompt":"}"}"#, "{\"x\":1}"),
        r#"{"kv_transfer_params": {"x":1}, "prompt":"}"}"#
    );
}

#[test]
fn one_sequence_a_request_on_every_route() {
    for route in [Route::Balance, Route::HandOff] {
        for (body, param) in [
            (r#"{"n":2}"#, "n"),
            (r#"{"n":1,"n":2.0}"#, "n"),
            (r#"{"best_of":3}"#, "best_of"),
            (r#"{"use_beam_search":true}"#, "use_beam_search"),
            (r#"{"prompt":["a","b"]}"#, "prompt"),
            (r#"{"prompt":[ [1,2],[3] ]}"#, "prompt"),
        ] {
            assert_eq!(refused(body, route), Some(param), "{body}");
        }
        for body in [
            r#"{"n":1,"best_of":null,"use_beam_search":false,"echo":false,"prompt_logprobs":null}"#,
            r#"{"prompt":[1,2,3]}"#,
            r#"{"prompt":["only one"]}"#,
            r#"{"prompt":[]}"#,
            r#"{"kv_transfer_params":null}"#,
        ] {
            assert_eq!(refused(body, route), None, "{body}");
        }
    }
}

#[test]
fn what_makes_decode_recompute_is_refused_in_a_hand_off_only() {
    for (body, param) in [
        (r#"{"echo":true}"#, "echo"),
        (r#"{"prompt_logprobs":0}"#, "prompt_logprobs"),
        (r#"{"kv_transfer_params":{"do_remote_prefill":true}}"#, "kv_transfer_params"),
    ] {
        assert_eq!(refused(body, Route::HandOff), Some(param), "{body}");
        assert_eq!(refused(body, Route::Balance), None, "{body}");
    }
}

#[test]
fn token_ids_are_counted_and_text_is_estimated() {
    let tokens = |body: &str| Inspected::new(body.as_bytes()).unwrap().prompt_tokens();
    assert_eq!(tokens(r#"{"prompt":[1000, 1001,1002]}"#), 3);
    assert_eq!(tokens(r#"{"prompt":[[1000, 1001]]}"#), 2);
    assert_eq!(tokens(&json!({"prompt": "word".repeat(100)}).to_string()), 100);
    assert_eq!(tokens(&json!({"messages": [{"role": "user", "content": "x".repeat(400)}]}).to_string()), 107);
    assert_eq!(tokens(r#"{"prompt":""}"#), 1);
    assert_eq!(tokens("{}"), 1);
}

#[test]
fn params_must_be_there_and_hold_something() {
    let take = |answer: &'static str| KvParams::from_answer(&Bytes::from_static(answer.as_bytes()));
    for answer in
        ["{}", r#"{"kv_transfer_params":null}"#, r#"{"kv_transfer_params":{ }}"#, r#"{"kv_transfer_params":"yes"}"#]
    {
        assert_eq!(take(answer).unwrap_err(), NoParams::Missing, "{answer}");
    }
    for answer in ["", "oops", r#"{"kv_transfer_params":{"a":1}"#, "[]"] {
        assert!(matches!(take(answer).unwrap_err(), NoParams::NotJson(_)), "{answer}");
    }
    let odd = r#"{"id":"x","kv_transfer_params":{"b": 1.50, "a":"\u00e9"} ,"z":0}"#;
    assert_eq!(take(odd).unwrap().0, r#"{"b": 1.50, "a":"\u00e9"}"#);
}

#[test]
fn what_is_not_an_object_is_refused_with_the_place() {
    for body in ["", "[1]", "\"x\"", "{\"a\":1", "{\"a\":1} x", "{\"a\":\u{1}}", "null"] {
        assert!(Inspected::new(body.as_bytes()).is_err(), "{body}");
    }
    let message = Inspected::new(b"{not json").unwrap_err().to_string();
    assert!(message.contains("column 2"), "{message}");
    assert!(Inspected::new(b"{\"a\":\"\xff\"}").is_err());
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn any_body() -> impl Strategy<Value = Map<String, Value>> {
    const NAMES: &[&str] =
        &["model", "prompt", "messages", "stop", "stream", "max_tokens", "min_tokens", "n", "max_completion_tokens"];
    let key = prop_oneof![prop::sample::select(NAMES).prop_map(str::to_owned), any::<String>()];
    prop::collection::vec((key, any_json()), 0..10).prop_map(|members| {
        let mut members: Map<String, Value> = members.into_iter().collect();
        members.remove(PARAMS);
        members
    })
}

proptest! {
    #[test]
    fn a_decode_body_is_the_clients_bytes_plus_the_params(
        body in any_body(), params in any_json(), pretty in any::<bool>(), tail in "[ \t\r\n]{0,3}",
    ) {
        let text = if pretty { serde_json::to_string_pretty(&body) } else { serde_json::to_string(&body) }.unwrap() + &tail;
        let spliced = decode(&text, &params.to_string());
        let close = text.rfind('}').unwrap();
        prop_assert_eq!(&spliced[..close], &text[..close]);
        prop_assert!(spliced.ends_with(&text[close..]));
        let mut expected = body;
        expected.insert(PARAMS.to_owned(), params);
        prop_assert_eq!(serde_json::from_str::<Value>(&spliced).unwrap(), Value::Object(expected));
    }

    #[test]
    fn a_prefill_body_is_the_clients_members_under_the_hand_off_s_terms(body in any_body()) {
        let sent = prefill(&serde_json::to_string(&body).unwrap());
        for (key, value) in &body {
            if !NOT_FOR_PREFILL.contains(&key.as_str()) {
                prop_assert_eq!(&sent[key], value);
            }
        }
        prop_assert_eq!(&sent["max_tokens"], 1);
        prop_assert_eq!(&sent["stream"], false);
        prop_assert_eq!(&sent["n"], 1);
        prop_assert_eq!(sent.get("max_completion_tokens").is_some(), body.contains_key("max_completion_tokens"));
        prop_assert!(sent.get("min_tokens").is_none() && sent.get("stop").is_none());
        prop_assert_eq!(&sent["kv_transfer_params"]["do_remote_decode"], true);
    }

    #[test]
    fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(inspected) = Inspected::new(&body) {
            let _ = (inspected.prompt_tokens(), inspected.unsupported(Route::HandOff), inspected.prefill_body());
        }
        let _ = KvParams::from_answer(&Bytes::from(body));
    }
}
