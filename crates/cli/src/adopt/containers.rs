//! Containers: their definitions, made anew by `POST /containers/create`. None is started.

use super::{Adoption, blocking, images::Known, is_refusal, why};
use crate::{
    failure::{Failure, Result},
    value::Value,
};
use rorqual_adopt::{Container, in_order};
use std::{collections::BTreeSet, sync::Arc};

/// Takes all definitions. `refused` are volumes that were not taken.
pub async fn adopt(adoption: &mut Adoption, images: &Known, refused: &BTreeSet<String>) -> Result<()> {
    let source = adoption.source.clone();
    let found = in_order(blocking(move || source.containers()).await?);
    let mut all = Vec::new();
    let mut order = Vec::new();
    for found in found {
        order.push((found.what, found.object.map(Arc::new)));
        if let Some((_, Ok(container))) = order.last() {
            all.push(container.clone());
        }
    }
    for (what, object) in order {
        let what = format!("container {what}");
        let container = match object {
            Ok(container) => container,
            Err(error) => {
                adoption.tally.refused(&what, &error.to_string())?;
                continue;
            }
        };
        match one(adoption, &what, &container, &Here { all: &all, images, refused }).await {
            Ok(()) => changes(adoption, &what, container).await?,
            Err(failure) if is_refusal(&failure) => adoption.tally.refused(&what, &why(&failure))?,
            Err(failure) => return Err(failure),
        }
    }
    Ok(())
}

/// What the container wrote into its own file system stays behind, and is told.
async fn changes(adoption: &mut Adoption, what: &str, container: Arc<Container>) -> Result<()> {
    let source = adoption.source.clone();
    let changed = blocking(move || source.changed_files(&container)).await;
    let what = format!("files of {what}");
    match changed {
        Ok(0) => Ok(()),
        Ok(count) => {
            let why =
                format!("its writable layer ({count} changed) stays behind; `docker commit` makes an image of it");
            adoption.tally.refused(&what, &why)
        }
        Err(failure) => adoption.tally.refused(&what, &why(&failure)),
    }
}

/// What a definition may refer to.
struct Here<'a> {
    all: &'a [Arc<Container>],
    images: &'a Known,
    refused: &'a BTreeSet<String>,
}

async fn one(adoption: &mut Adoption, what: &str, container: &Container, here: &Here<'_>) -> Result<()> {
    let name = &container.name;
    let image = here.images.get(&container.image);
    let image = image.ok_or_else(|| Failure::message(format!("its image {} is not here", container.image_name())))?;
    if let Some(there) = adoption.look(format!("/containers/{name}/json")).await? {
        return match is_same(&there, container, image) {
            true => adoption.tally.there(what),
            false => Err(Failure::message("another container has that name here")),
        };
    }
    check_parts(adoption, container, here.refused).await?;
    if adoption.dry {
        return adoption.tally.taken(what, "");
    }
    let word = image_word(adoption, container, image).await?;
    let health = image.at(&["Config", "Healthcheck"]);
    let health = serde_json::to_value(health).ok().filter(|health| !health.is_null());
    let all: Vec<&Container> = here.all.iter().map(AsRef::as_ref).collect();
    let body = container.definition(&all, &word, health.as_ref());
    let request = adoption.client.post("/containers/create").query("name", name).json(&body);
    let answer: Value = request.send().await?.json().await?;
    let warnings: Vec<&str> = answer.at(&["Warnings"]).items().iter().filter_map(Value::as_str).collect();
    adoption.tally.taken(what, &warnings.join("; "))
}

/// Its volumes and networks must be here: an engine would make empty volumes in their place.
async fn check_parts(adoption: &Adoption, container: &Container, refused: &BTreeSet<String>) -> Result<()> {
    for volume in container.volumes() {
        if refused.contains(volume) {
            return Err(Failure::message(format!("its volume {volume} was not taken")));
        }
        if !adoption.dry && adoption.look(format!("/volumes/{volume}")).await?.is_none() {
            return Err(Failure::message(format!("its volume {volume} is not here")));
        }
    }
    for network in container.networks() {
        if adoption.look(format!("/networks/{network}")).await?.is_none() {
            return Err(Failure::message(format!("its network {network} is not here; make it and adopt again")));
        }
    }
    Ok(())
}

/// What to call the image: as the user called it, where that still means the same.
async fn image_word(adoption: &Adoption, container: &Container, image: &Value) -> Result<String> {
    let id = image.text("Id");
    let named = match container.image_name() {
        "" => None,
        name => adoption.look(format!("/images/{name}/json")).await?.filter(|named| named.text("Id") == id),
    };
    Ok(if named.is_some() { container.image_name().to_owned() } else { id.to_owned() })
}

fn is_same(there: &Value, container: &Container, image: &Value) -> bool {
    let args: Vec<&str> = there.at(&["Args"]).items().iter().filter_map(Value::as_str).collect();
    there.text("Image") == image.text("Id") && there.text("Path") == container.path && args == container.args
}
