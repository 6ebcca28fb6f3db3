//! `--gpus all`, `--gpus 2`, `--gpus '"device=0,1",capabilities=utility'`.

use super::{comma_fields, object, pairs, texts_list, texts_or_null};
use crate::value::Value;

/// The check of the flag.
pub fn check(text: &str) -> Result<(), String> {
    parse(text).map(drop)
}

/// The device request in the body.
pub fn parse(text: &str) -> Result<Value, String> {
    let (mut driver, mut count, mut devices, mut capabilities, mut options) =
        (String::new(), None, Vec::new(), Vec::new(), Vec::new());
    for (index, field) in comma_fields(text)?.into_iter().enumerate() {
        let (name, value) = match field.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None if index == 0 => ("count".to_owned(), field.clone()),
            None => (field.clone(), String::new()),
        };
        match name.as_str() {
            "driver" => driver = value,
            "count" => count = Some(parse_count(&value)?),
            "device" => devices = value.split(',').map(str::to_owned).collect(),
            "capabilities" => capabilities = value.split(',').map(str::to_owned).collect(),
            "options" => options = comma_fields(&value)?,
            _ => return Err(format!("unexpected key '{name}' in '{field}'")),
        }
    }
    capabilities.push("gpu".to_owned());
    let count = count.unwrap_or(i64::from(devices.is_empty()));
    Ok(object([
        ("Driver", driver.into()),
        ("Count", Value::Int(count)),
        ("DeviceIDs", texts_or_null(&devices)),
        ("Capabilities", Value::List(vec![texts_list(&capabilities)])),
        ("Options", pairs(&options)),
    ]))
}

fn parse_count(text: &str) -> Result<i64, String> {
    if text == "all" {
        return Ok(-1);
    }
    text.parse()
        .map_err(|_| format!("invalid count ({text}): value must be either \"all\" or an integer: invalid syntax"))
}
