//! JSON whose fields keep the order in which they are written.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use std::fmt;

/// A value.
pub enum Json {
    Object(Vec<(String, Json)>),
    Array(Vec<Json>),
    Plain(Value),
}

static NOTHING: Json = Json::Plain(Value::Null);

impl Json {
    pub fn parse(text: &str) -> Self {
        serde_json::from_str(text).unwrap()
    }

    pub fn get(&self, name: &str) -> Option<&Json> {
        self.fields().iter().find(|(field, _)| field == name).map(|(_, value)| value)
    }

    /// A field; null where there is none.
    pub fn at(&self, name: &str) -> &Json {
        self.get(name).unwrap_or(&NOTHING)
    }

    pub fn fields(&self) -> &[(String, Json)] {
        if let Json::Object(fields) = self { fields } else { &[] }
    }

    pub fn items(&self) -> &[Json] {
        if let Json::Array(items) = self { items } else { &[] }
    }

    pub fn as_text(&self) -> &str {
        if let Json::Plain(Value::String(text)) = self { text } else { "" }
    }

    /// A field's text; empty where there is none.
    pub fn text(&self, name: &str) -> &str {
        self.at(name).as_text()
    }

    pub fn is_true(&self) -> bool {
        matches!(self, Json::Plain(Value::Bool(true)))
    }

    /// Text as it is, nothing as nothing, and all else as JSON on one line.
    pub fn shown(&self) -> String {
        match self {
            Json::Plain(Value::String(text)) => text.clone(),
            Json::Plain(Value::Null) => String::new(),
            other => other.written(),
        }
    }

    fn written(&self) -> String {
        match self {
            Json::Plain(value) => value.to_string(),
            Json::Array(items) => {
                format!("[{}]", items.iter().map(Json::written).collect::<Vec<_>>().join(","))
            }
            Json::Object(fields) => {
                let field = |(name, value): &(String, Json)| {
                    format!("{}:{}", Value::from(name.as_str()), value.written())
                };
                format!("{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(","))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Json;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Json::Object(fields))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
                let mut all = Vec::new();
                while let Some(item) = items.next_element()? {
                    all.push(item);
                }
                Ok(Json::Array(all))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
                Ok(Json::Plain(value.into()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
                Ok(Json::Plain(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
                Ok(Json::Plain(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
                Ok(Json::Plain(value.into()))
            }

            fn visit_str<E>(self, value: &str) -> Result<Json, E> {
                Ok(Json::Plain(value.into()))
            }

            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Plain(Value::Null))
            }
        }
        deserializer.deserialize_any(Any)
    }
}
