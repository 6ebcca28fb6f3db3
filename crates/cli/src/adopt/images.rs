//! Images, each streamed into `POST /images/load` while it is put together.

use super::{Adoption, blocking, feed, from_source, is_refusal, why};
use crate::{
    failure::{Failure, Result},
    human,
    print::show_progress,
    value::Value,
};
use rorqual_adopt::Image;
use rorqual_types::{Digest, Reference};
use std::{collections::HashMap, sync::Arc};

/// What the images of the data root are called here: by their old ID, what the daemon says of the new image.
pub type Known = HashMap<Digest, Value>;

/// Takes the images, or only finds those that are there; either way tells which are.
pub async fn adopt(adoption: &mut Adoption, take: bool) -> Result<Known> {
    let source = adoption.source.clone();
    let mut known = Known::new();
    for found in blocking(move || source.images()).await? {
        let what = format!("image {}", found.what);
        let image = match found.object {
            Ok(image) => Arc::new(image),
            Err(error) if take => {
                adoption.tally.refused(&what, &error.to_string())?;
                continue;
            }
            Err(_) => continue,
        };
        let there = find(adoption, &image).await?;
        if !take {
            known.extend(there.map(|there| (image.docker_id, there)));
            continue;
        }
        match one(adoption, &what, &image, there).await {
            Ok(there) => drop(known.insert(image.docker_id, there)),
            Err(failure) if is_refusal(&failure) => adoption.tally.refused(&what, &why(&failure))?,
            Err(failure) => return Err(failure),
        }
    }
    Ok(known)
}

/// The image, where the daemon has it: under the ID of its manifest, or of its configuration.
async fn find(adoption: &Adoption, image: &Image) -> Result<Option<Value>> {
    for id in [image.id, image.docker_id] {
        if let Some(there) = adoption.look(format!("/images/{id}/json")).await? {
            return Ok(Some(there));
        }
    }
    Ok(None)
}

async fn one(adoption: &mut Adoption, what: &str, image: &Arc<Image>, there: Option<Value>) -> Result<Value> {
    let mut missing = Vec::new();
    for name in &image.names {
        let familiar = name.familiar();
        match adoption.look(format!("/images/{familiar}/json")).await? {
            None => missing.push(name.clone()),
            Some(other) => {
                let same = there.as_ref().is_some_and(|there| there.text("Id") == other.text("Id"));
                if !same {
                    let why = "the name stands for another image here, and stays with it";
                    adoption.tally.refused(&format!("name {familiar}"), why)?;
                }
            }
        }
    }
    match there {
        Some(there) if missing.is_empty() => {
            adoption.tally.there(what)?;
            Ok(there)
        }
        Some(there) => {
            for name in &missing {
                tag(adoption, there.text("Id"), name).await?;
            }
            let names: Vec<String> = missing.iter().map(Reference::familiar).collect();
            adoption.tally.taken(what, &format!("the image was there, the name {} is new", names.join(", ")))?;
            Ok(there)
        }
        None => {
            let there = load(adoption, image, missing).await?;
            adoption.tally.taken(what, &human::size(image.size() as f64, 3))?;
            Ok(there)
        }
    }
}

async fn tag(adoption: &Adoption, id: &str, name: &Reference) -> Result<()> {
    if adoption.dry {
        return Ok(());
    }
    let request = adoption.client.post(format!("/images/{id}/tag"));
    let request = request.query("repo", name.name()).query("tag", name.tag().unwrap_or("latest"));
    Ok(request.send().await?.finish().await?)
}

async fn load(adoption: &Adoption, image: &Arc<Image>, names: Vec<Reference>) -> Result<Value> {
    if adoption.dry {
        // As it will be named: what containers ask for next.
        return Ok(Value::Map(vec![("Id".to_owned(), Value::from(image.id.to_string()))]));
    }
    let (mut writer, reader) = feed::feed();
    let writing = {
        let image = image.clone();
        move || -> rorqual_error::Result<()> {
            image.write(&names, &mut writer)?;
            rorqual_error::Context::context(writer.end(), "send the image")
        }
    };
    let writing = tokio::task::spawn_blocking(writing);
    let request = adoption.client.post("/images/load").query_flag("quiet", true);
    let sent = match request.stream("application/x-tar", reader).send().await {
        Ok(response) => show_progress(&mut response.lines(), true).await,
        Err(error) => Err(error.into()),
    };
    let written = writing.await.map_err(std::io::Error::from)?;
    match (written, sent) {
        (Ok(()), Ok(())) => {}
        // The daemon's refusal is why our writing ended.
        (_, Err(failure)) if matches!(&failure, Failure::Client(error) if error.status().is_some()) => {
            return Err(failure);
        }
        (_, Err(failure @ Failure::Message { .. })) => return Err(failure),
        (Err(error), _) => return Err(from_source(error)),
        (Ok(()), Err(failure)) => return Err(failure),
    }
    find(adoption, image).await?.ok_or_else(|| Failure::message("the daemon loaded it under another ID"))
}
