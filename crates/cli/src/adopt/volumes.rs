//! Volumes: made by the API, filled where the daemon keeps them.

use super::{Adoption, blocking, from_source, is_refusal, why};
use crate::{
    failure::{Failure, Result},
    value::Value,
};
use rorqual_adopt::{There, Volume};
use rorqual_client::Host;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

/// Takes all volumes; gives the names of those that were not taken.
pub async fn adopt(adoption: &mut Adoption) -> Result<BTreeSet<String>> {
    let source = adoption.source.clone();
    let mut refused = BTreeSet::new();
    for found in blocking(move || source.volumes()).await? {
        let what = format!("volume {}", found.what);
        let outcome = match found.object {
            Ok(volume) => one(adoption, &what, Arc::new(volume)).await,
            Err(error) => Err(from_source(error)),
        };
        match outcome {
            Err(failure) if is_refusal(&failure) => {
                adoption.tally.refused(&what, &why(&failure))?;
                refused.insert(found.what);
            }
            other => other?,
        }
    }
    Ok(refused)
}

async fn one(adoption: &mut Adoption, what: &str, volume: Arc<Volume>) -> Result<()> {
    if volume.has_data() && !matches!(adoption.client.host(), Host::Unix(_)) {
        return Err(Failure::message("its data can only be copied to a daemon on this machine, called by its socket"));
    }
    let there = adoption.look(format!("/volumes/{}", volume.name)).await?;
    if let Some(there) = &there {
        if pairs(there, "Labels") != volume.labels || pairs(there, "Options") != volume.options {
            return Err(Failure::message("a volume of that name with other labels or options is here"));
        }
        if !volume.has_data() {
            return adoption.tally.there(what);
        }
        let (compared, mountpoint) = (volume.clone(), mountpoint(there));
        match blocking(move || compared.look(&mountpoint)).await? {
            There::Same => return adoption.tally.there(what),
            There::Other => return Err(Failure::message("a volume of that name with other data is here")),
            There::Nothing => {}
        }
        if is_used(adoption, &volume.name).await? {
            return Err(Failure::message("a container that runs here uses the empty volume of that name"));
        }
    }
    if adoption.dry {
        return adoption.tally.taken(what, "");
    }
    let new = there.is_none();
    let there = match there {
        Some(there) => there,
        None => create(adoption, &volume).await?,
    };
    if volume.has_data() {
        let mountpoint = mountpoint(&there);
        if new && !mountpoint.is_dir() {
            // Nothing can be put there: an empty volume would only look like the old one.
            adoption.client.delete(format!("/volumes/{}", volume.name)).send().await?.finish().await?;
            let at = mountpoint.display();
            return Err(Failure::message(format!("the daemon keeps it at {at}, which is not on this machine")));
        }
        let placed = volume.clone();
        blocking(move || placed.place(&mountpoint)).await?;
    }
    adoption.tally.taken(what, if volume.has_data() { "" } else { "its options; the data is elsewhere" })
}

async fn create(adoption: &Adoption, volume: &Volume) -> Result<Value> {
    let map = |map: &BTreeMap<String, String>| {
        Value::Map(map.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect())
    };
    let mut fields = vec![("Name", Value::from(volume.name.as_str())), ("Driver", Value::from("local"))];
    if !volume.labels.is_empty() {
        fields.push(("Labels", map(&volume.labels)));
    }
    if !volume.options.is_empty() {
        fields.push(("DriverOpts", map(&volume.options)));
    }
    let body = Value::Map(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
    Ok(adoption.client.post("/volumes/create").json(&body).send().await?.json().await?)
}

fn mountpoint(volume: &Value) -> PathBuf {
    PathBuf::from(volume.text("Mountpoint"))
}

fn pairs(object: &Value, field: &str) -> BTreeMap<String, String> {
    let entries = object.at(&[field]).entries().iter();
    entries.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

/// Whether a container that runs has it mounted.
async fn is_used(adoption: &Adoption, name: &str) -> Result<bool> {
    let filters = format!(r#"{{"volume":{{{}:true}},"status":{{"running":true}}}}"#, Value::from(name).json());
    let users: Value = adoption.client.get("/containers/json").query("filters", filters).send().await?.json().await?;
    Ok(!users.items().is_empty())
}
