//! A deserializer over a parsed document that is as lenient as Go's, and fails in Go's words.

use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde_json::{Map, Value};
use std::fmt;

/// Reads one value; `path` says where it stands.
pub(super) struct Decoder<'a> {
    value: &'a Value,
    path: String,
}

/// Why a document is not of its type.
#[derive(Debug)]
pub(super) struct DecodeError(String);

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for DecodeError {}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string().chars().take(crate::limits::SHOWN * 2).collect())
    }
}

type Result<T> = std::result::Result<T, DecodeError>;

impl<'a> Decoder<'a> {
    pub(super) fn new(value: &'a Value, path: impl Into<String>) -> Self {
        Self { value, path: path.into() }
    }

    fn wrong<T>(&self, wanted: &str) -> Result<T> {
        let kind = match self.value {
            Value::Null => "null".into(),
            Value::Bool(_) => "bool".into(),
            Value::Number(number) if wanted.contains("int") => format!("number {number}"),
            Value::Number(_) => "number".into(),
            Value::String(_) => "string".to_owned(),
            Value::Array(_) => "array".into(),
            Value::Object(_) => "object".into(),
        };
        let place = if self.path.is_empty() { "Go value".into() } else { format!("Go struct field {}", self.path) };
        Err(DecodeError(format!("json: cannot unmarshal {kind} into {place} of type {wanted}")))
    }

    fn signed(&self, wanted: &str, low: i64, high: i64) -> Result<i64> {
        match self.value {
            Value::Null => Ok(0),
            Value::Number(number) => match number.as_i64() {
                Some(value) if (low..=high).contains(&value) => Ok(value),
                _ => self.wrong(wanted),
            },
            _ => self.wrong(wanted),
        }
    }

    fn unsigned(&self, wanted: &str, high: u64) -> Result<u64> {
        match self.value {
            Value::Null => Ok(0),
            Value::Number(number) => match number.as_u64() {
                Some(value) if value <= high => Ok(value),
                _ => self.wrong(wanted),
            },
            _ => self.wrong(wanted),
        }
    }
}

macro_rules! integers {
    ($($method:ident $visit:ident $rust:ty, $go:literal, $read:ident($($bound:expr),*);)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            let value = self.$read($go, $($bound),*)?;
            match <$rust>::try_from(value) {
                Ok(value) => visitor.$visit(value),
                Err(_) => self.wrong($go),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Decoder<'_> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(value), ..) => visitor.visit_u64(value),
                (_, Some(value), _) => visitor.visit_i64(value),
                (.., Some(value)) => visitor.visit_f64(value),
                _ => self.wrong("float64"),
            },
            Value::String(text) => visitor.visit_str(text),
            Value::Array(items) => visitor.visit_seq(Items { items: items.iter(), path: &self.path, index: 0 }),
            Value::Object(members) => visitor.visit_map(Members::new(members, &self.path, &[])),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.value {
            Value::Null => visitor.visit_bool(false),
            Value::Bool(value) => visitor.visit_bool(*value),
            _ => self.wrong("bool"),
        }
    }

    integers! {
        deserialize_i8 visit_i8 i8, "int8", signed(i64::from(i8::MIN), i64::from(i8::MAX));
        deserialize_i16 visit_i16 i16, "int16", signed(i64::from(i16::MIN), i64::from(i16::MAX));
        deserialize_i32 visit_i32 i32, "int", signed(i64::from(i32::MIN), i64::from(i32::MAX));
        deserialize_i64 visit_i64 i64, "int64", signed(i64::MIN, i64::MAX);
        deserialize_u8 visit_u8 u8, "uint8", unsigned(u64::from(u8::MAX));
        deserialize_u16 visit_u16 u16, "uint16", unsigned(u64::from(u16::MAX));
        deserialize_u32 visit_u32 u32, "uint", unsigned(u64::from(u32::MAX));
        deserialize_u64 visit_u64 u64, "uint64", unsigned(u64::MAX);
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.value {
            Value::Null => visitor.visit_f64(0.0),
            Value::Number(number) => visitor.visit_f64(number.as_f64().unwrap_or_default()),
            _ => self.wrong("float64"),
        }
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_str(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.value {
            Value::Null => visitor.visit_str(""),
            Value::String(text) => visitor.visit_str(text),
            _ => self.wrong("string"),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_str(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.value {
            Value::Null => visitor.visit_seq(Items { items: [].iter(), path: &self.path, index: 0 }),
            Value::Array(items) => visitor.visit_seq(Items { items: items.iter(), path: &self.path, index: 0 }),
            _ => self.wrong("[]string"),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value> {
        // Go fills what is missing of a fixed array with zeros and drops what is too much.
        const ZERO: Value = Value::Null;
        let Value::Array(items) = self.value else { return self.wrong(&format!("[{length}]uint")) };
        let padded: Vec<Value> =
            items.iter().cloned().chain(std::iter::repeat_n(ZERO, length.min(64))).take(length).collect();
        visitor.visit_seq(Items { items: padded.iter(), path: &self.path, index: 0 })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_tuple(length, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let none = Map::new();
        match self.value {
            Value::Null => visitor.visit_map(Members::new(&none, &self.path, &[])),
            Value::Object(members) => visitor.visit_map(Members::new(members, &self.path, &[])),
            _ => self.wrong("map[string]string"),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        let none = Map::new();
        match self.value {
            Value::Null => visitor.visit_map(Members::new(&none, &self.path, fields)),
            Value::Object(members) => visitor.visit_map(Members::new(members, &self.path, fields)),
            _ => self.wrong(&format!("container.{name}")),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        match self.value {
            Value::String(text) => visitor.visit_enum(Variant(text)),
            _ => self.wrong("string"),
        }
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_unit()
    }
}

/// The items of a list.
struct Items<'a> {
    items: std::slice::Iter<'a, Value>,
    path: &'a str,
    index: usize,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        let Some(item) = self.items.next() else { return Ok(None) };
        let path = format!("{}.{}", self.path, self.index);
        self.index += 1;
        seed.deserialize(Decoder::new(item, path)).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

/// The members of an object; names that differ from one of `fields` in case only are read as that field.
struct Members<'a> {
    members: serde_json::map::Iter<'a>,
    all: &'a Map<String, Value>,
    path: &'a str,
    fields: &'static [&'static str],
    pending: Option<(&'a str, &'a Value)>,
}

impl<'a> Members<'a> {
    fn new(members: &'a Map<String, Value>, path: &'a str, fields: &'static [&'static str]) -> Self {
        Self { members: members.iter(), all: members, path, fields, pending: None }
    }
}

/// The field a name means; `None` for a further spelling of a field, so that no field comes twice.
fn field_of<'a>(name: &'a str, all: &Map<String, Value>, fields: &'static [&'static str]) -> Option<&'a str> {
    if fields.is_empty() || fields.contains(&name) {
        return Some(name);
    }
    let Some(field) = fields.iter().find(|field| field.eq_ignore_ascii_case(name)) else { return Some(name) };
    let first = all.keys().find(|key| key.eq_ignore_ascii_case(field))?;
    (!all.contains_key(*field) && first == name).then_some(*field)
}

impl<'de> MapAccess<'de> for Members<'_> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        for (name, value) in self.members.by_ref() {
            let Some(field) = field_of(name, self.all, self.fields) else { continue };
            self.pending = Some((field, value));
            return seed.deserialize(IntoDeserializer::<DecodeError>::into_deserializer(field)).map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value> {
        let Some((name, value)) = self.pending.take() else {
            return Err(de::Error::custom("a value without its name"));
        };
        let shown: String = name.chars().take(crate::limits::SHOWN).collect();
        seed.deserialize(Decoder::new(value, format!("{}.{shown}", self.path)))
    }
}

/// A variant without content.
struct Variant<'a>(&'a str);

impl<'de> EnumAccess<'de> for Variant<'_> {
    type Error = DecodeError;
    type Variant = UnitOnly;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, UnitOnly)> {
        let name = seed.deserialize(IntoDeserializer::<DecodeError>::into_deserializer(self.0))?;
        Ok((name, UnitOnly))
    }
}

struct UnitOnly;

impl<'de> VariantAccess<'de> for UnitOnly {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<()> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _seed: T) -> Result<T::Value> {
        Err(de::Error::custom("a variant with content"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _length: usize, _visitor: V) -> Result<V::Value> {
        Err(de::Error::custom("a variant with content"))
    }

    fn struct_variant<V: Visitor<'de>>(self, _fields: &'static [&'static str], _visitor: V) -> Result<V::Value> {
        Err(de::Error::custom("a variant with content"))
    }
}
