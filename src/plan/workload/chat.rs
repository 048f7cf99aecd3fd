//! Conversations in rows, in the spellings that people have: ShareGPT's `from` and `value`, OpenAI's `role` and
//! `content` (a text, or a list of parts), lists of plain texts that take turns.

use serde_json::{Map, Value};

/// Columns that hold a conversation, in order of preference.
const LISTS: [&str; 9] =
    ["conversations", "conversation", "messages", "items", "turns", "dialog", "dialogue", "chat", "data"];
const ROLES: [&str; 4] = ["role", "from", "speaker", "author"];
const TEXTS: [&str; 4] = ["content", "value", "text", "message"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaker {
    System,
    User,
    Assistant,
    /// Tools and their like: neither asks nor answers.
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) role: Speaker,
    pub(super) text: String,
}

/// The turns of a row's conversation; `None` if it has no such column.
pub(super) fn turns_of(row: &mut Map<String, Value>) -> Option<Result<Vec<Turn>, String>> {
    let name = LISTS.iter().find(|name| row.get(**name).is_some_and(may_be_turns))?;
    Some(turns(row.remove(*name).unwrap_or_default()).map_err(|problem| format!("`{name}`: {problem}")))
}

/// A list, or one written as JSON in a CSV's column.
fn may_be_turns(value: &Value) -> bool {
    value.is_array() || value.as_str().is_some_and(|text| text.trim_start().starts_with('['))
}

/// The turns in a value.
///
/// # Errors
/// In words, when it holds none or one of them is damaged.
pub(super) fn turns(value: Value) -> Result<Vec<Turn>, String> {
    let items = match value {
        Value::Array(items) => items,
        Value::String(text) => serde_json::from_str(&text).map_err(|e| format!("it is not JSON: {e}"))?,
        _ => return Err("it is not a list of turns".to_string()),
    };
    (1..).zip(items).map(|(number, item)| turn(number, item).map_err(|e| format!("turn {number} {e}"))).collect()
}

fn turn(number: usize, item: Value) -> Result<Turn, String> {
    match item {
        // Texts without names take turns.
        Value::String(text) => {
            Ok(Turn { role: if number % 2 == 1 { Speaker::User } else { Speaker::Assistant }, text })
        }
        Value::Object(mut fields) => {
            let role = ROLES.iter().find_map(|name| fields.get(*name)?.as_str()).ok_or("has no role")?;
            let role = role_of(role);
            let text = TEXTS.iter().find_map(|name| fields.remove(*name)).ok_or("has no text")?;
            Ok(Turn { role, text: text_of(text).ok_or("has no text")? })
        }
        _ => Err("is not an object".to_string()),
    }
}

fn role_of(name: &str) -> Speaker {
    match name.to_ascii_lowercase().as_str() {
        "human" | "user" | "prompter" | "instruction" | "question" => Speaker::User,
        "system" | "developer" => Speaker::System,
        "tool" | "function" | "function_call" | "observation" | "tool_response" | "ipython" => Speaker::Other,
        // Everybody who answers is called otherwise: gpt, chatgpt, bard, assistant, model ..
        _ => Speaker::Assistant,
    }
}

/// A text, or the texts of a list of parts.
fn text_of(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Array(parts) => {
            let texts: Vec<String> = parts
                .into_iter()
                .filter_map(|part| match part {
                    Value::String(text) => Some(text),
                    Value::Object(mut part) => match part.remove("text") {
                        Some(Value::String(text)) => Some(text),
                        _ => None,
                    },
                    _ => None,
                })
                .collect();
            (!texts.is_empty()).then(|| texts.join("\n"))
        }
        _ => None,
    }
}

/// Questions with the answers right after them, from the first question on, as long as the two take turns.
pub(super) fn exchanges(turns: Vec<Turn>) -> impl Iterator<Item = (String, String)> {
    let mut turns = turns.into_iter().filter(|t| t.role != Speaker::System).skip_while(|t| t.role != Speaker::User);
    std::iter::from_fn(move || {
        let question = turns.next().filter(|t| t.role == Speaker::User)?;
        let answer = turns.next().filter(|t| t.role == Speaker::Assistant)?;
        Some((question.text, answer.text))
    })
}

/// What is asked last, what was said before it, and the answer if there is one.
pub(super) struct LastQuestion {
    pub(super) before: Vec<Turn>,
    pub(super) question: String,
    pub(super) answer: Option<String>,
}

/// `None` if nobody asks.
pub(super) fn last_question(turns: Vec<Turn>) -> Option<LastQuestion> {
    let mut before: Vec<Turn> = turns.into_iter().filter(|t| t.role != Speaker::Other).collect();
    let at = before.iter().rposition(|t| t.role == Speaker::User)?;
    let answer = before.drain(at + 1..).find(|t| t.role == Speaker::Assistant).map(|t| t.text);
    let question = before.pop()?.text;
    Some(LastQuestion { before, question, answer })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(row: Value) -> Result<Vec<(String, String)>, String> {
        let Value::Object(mut row) = row else { panic!("an object") };
        turns_of(&mut row).expect("a conversation").map(|turns| exchanges(turns).collect())
    }

    #[test]
    fn one_conversation_in_every_spelling() {
        let expected = vec![("q".to_string(), "a".to_string())];
        for row in [
            json!({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}),
            json!({"items": [{"from": "user", "value": "q"}, {"from": "bard", "value": "a"}]}),
            json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}),
            json!({"messages": [
                {"role": "system", "content": "s"},
                {"role": "user", "content": [{"type": "text", "text": "q"}]},
                {"role": "assistant", "content": ["a"]},
            ]}),
            json!({"conversation": [{"role": "User", "value": "q"}, {"role": "Assistant", "value": "a"}]}),
            json!({"data": ["q", "a"]}),
            json!({"messages": r#"[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]"#}),
            json!({"conversations": [{"from": "gpt", "value": "hello"}, {"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}),
        ] {
            assert_eq!(read(row.clone()), Ok(expected.clone()), "{row}");
        }
    }

    #[test]
    fn damage_is_told_with_the_turn() {
        let refused = |turns: Value| read(json!({"conversations": turns})).expect_err("damaged");
        assert_eq!(refused(json!([{"from": "human"}])), "`conversations`: turn 1 has no text");
        assert_eq!(refused(json!([{"from": "human", "value": null}])), "`conversations`: turn 1 has no text");
        assert_eq!(refused(json!(["q", 5])), "`conversations`: turn 2 is not an object");
        assert_eq!(refused(json!([{"value": "q"}])), "`conversations`: turn 1 has no role");
    }

    #[test]
    fn the_last_question_keeps_what_came_before() {
        let turns = turns(json!([
            {"role": "system", "content": "s"},
            {"role": "user", "content": "q1"},
            {"role": "assistant", "content": "a1"},
            {"role": "user", "content": "q2"},
            {"role": "tool", "content": "t"},
            {"role": "assistant", "content": "a2"},
        ]))
        .expect("turns");
        let last = last_question(turns).expect("a question");
        assert_eq!((last.question.as_str(), last.answer.as_deref(), last.before.len()), ("q2", Some("a2"), 3));
    }
}
