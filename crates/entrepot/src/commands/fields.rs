//! Any answer as lines: a field a line, what is inside it indented, lists as steps; all in the order in which they came.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A JSON value whose fields keep their order.
#[derive(Debug, PartialEq)]
pub(crate) enum Field {
    /// What stands on one line, as it is shown.
    Plain(String),
    /// An object.
    Object(Vec<(String, Field)>),
    /// A list.
    List(Vec<Field>),
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FieldVisitor)
    }
}

struct FieldVisitor;

impl<'de> Visitor<'de> for FieldVisitor {
    type Value = Field;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Field, E> {
        Ok(Field::Plain(if value { "yes" } else { "no" }.to_owned()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Field, E> {
        Ok(Field::Plain(number.to_string()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Field, E> {
        Ok(Field::Plain(number.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Field, E> {
        Ok(Field::Plain(number.to_string()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Field, E> {
        Ok(Field::Plain(tame(text)))
    }

    fn visit_unit<E>(self) -> Result<Field, E> {
        Ok(Field::Plain("none".to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Field, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = list.next_element()? {
            fields.push(field);
        }
        Ok(Field::List(fields))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Field, A::Error> {
        let mut fields = Vec::new();
        while let Some((key, field)) = object.next_entry::<String, Field>()? {
            fields.push((tame(&key.replace('_', " ")), field));
        }
        Ok(Field::Object(fields))
    }
}

impl Field {
    /// The fields of an object as `key  value`, aligned; keys are read as words. A text that comes from elsewhere cannot act on
    /// the terminal.
    pub(crate) fn lines(&self) -> String {
        self.rows().iter().flat_map(|row| [row.trim_end(), "\n"]).collect()
    }

    fn rows(&self) -> Vec<String> {
        match self {
            Self::Plain(text) => vec![text.clone()],
            Self::Object(fields) => {
                let beside = fields.iter().filter(|(_, field)| field.on_one_line().is_some());
                let width = beside.map(|(key, _)| key.chars().count()).max().unwrap_or(0);
                fields.iter().flat_map(|(key, field)| field.rows_under(key, width)).collect()
            }
            Self::List(steps) => {
                let width = steps.len().to_string().len();
                let steps = steps.iter().enumerate();
                steps.flat_map(|(index, step)| step.rows_of_step(&format!("{:width$}. ", index + 1))).collect()
            }
        }
    }

    /// The key with the value beside it, or below it.
    fn rows_under(&self, key: &str, width: usize) -> Vec<String> {
        if let Some(text) = self.on_one_line() {
            return vec![format!("{key:width$}  {text}")];
        }
        let inner = self.rows().into_iter().map(|row| format!("  {row}"));
        [key.to_owned()].into_iter().chain(inner).collect()
    }

    /// The first line of a step stands beside its number, the others below that line.
    fn rows_of_step(&self, number: &str) -> Vec<String> {
        let below = " ".repeat(number.len());
        let rows = self.rows().into_iter().enumerate();
        rows.map(|(index, row)| format!("{}{row}", if index == 0 { number } else { &below })).collect()
    }

    /// What is shown on one line; an empty list or object is too.
    fn on_one_line(&self) -> Option<&str> {
        match self {
            Self::Plain(text) => Some(text),
            Self::Object(fields) => fields.is_empty().then_some("none"),
            Self::List(steps) => steps.is_empty().then_some("none"),
        }
    }
}

/// The text on one line, without characters that could act on a terminal.
pub(crate) fn tame(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> String {
        serde_json::from_str::<Field>(text).expect(text).lines()
    }

    #[test]
    fn fields_are_aligned_objects_indented_and_lists_are_steps() {
        let answer = r#"{
            "reference": "docker.io/library/redis:7",
            "is_cached": true,
            "rule": null,
            "upstream": { "name": "docker.io", "mirrors": [], "weight": 1.5 },
            "steps": ["HEAD the tag", { "what": "token", "realm": "https://auth.docker.io/token" }, [1, -2]],
            "end": {}
        }"#;
        let expected = "\
reference  docker.io/library/redis:7
is cached  yes
rule       none
upstream
  name     docker.io
  mirrors  none
  weight   1.5
steps
  1. HEAD the tag
  2. what   token
     realm  https://auth.docker.io/token
  3. 1. 1
     2. -2
end        none
";
        assert_eq!(lines(answer), expected);
    }

    #[test]
    fn what_comes_from_elsewhere_cannot_act_on_the_terminal() {
        let shown = lines(r#"{"a\u001b[2J": "b\u001b[31m\nc"}"#);
        assert_eq!(shown, "a [2J  b [31m c\n");
    }
}
