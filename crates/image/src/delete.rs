//! `docker rmi`.

use crate::{
    DeleteOptions, Deleted, DeletedItem, Images, User, Users,
    name::{dangling, familiar, is_dangling, short},
    resolve::Target,
    state::NameRecord,
    tag::event,
};
use rorqual_error::{Error, Result};
use rorqual_types::Digest;

/// What is to happen, decided before anything does.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    /// One of several names goes away.
    Untag(String),
    /// The last name goes away, but a running container needs the image to stay.
    Unname(String),
    /// All names and the image go away.
    Delete(Vec<String>),
}

impl Images {
    /// `docker rmi`. `users` tells which containers use which image.
    pub fn delete(&self, name: &str, options: DeleteOptions, users: &dyn Users) -> Result<Deleted> {
        let _change = self.change();
        let (target, names) = {
            let state = self.state();
            let target = state.find(name)?;
            let names = state.names_of(&target.id());
            (target, names)
        };
        let users: Vec<User> = users.users().into_iter().filter(|user| user.image == target.id()).collect();
        if !options.platforms.is_empty() {
            return self.delete_platforms(&target, &options, &users);
        }
        let plan = plan(&target, &names, options.force, &users)?;
        self.carry_out(&target.id(), plan).map(|(deleted, _)| deleted)
    }

    /// Removes the image `id` with all its names. The caller holds the lock of [`Images::change`].
    pub(crate) fn delete_whole(&self, id: &Digest) -> Result<(Deleted, u64)> {
        let names = self.state().names_of(id);
        self.carry_out(id, Plan::Delete(names))
    }

    fn carry_out(&self, id: &Digest, plan: Plan) -> Result<(Deleted, u64)> {
        let (removed, set, gone) = match plan {
            Plan::Untag(name) => (vec![name], Vec::new(), false),
            Plan::Unname(name) => {
                let record: Option<NameRecord> = self.state().names.get(&name).cloned();
                (vec![name], record.map(|record| (dangling(id), record)).into_iter().collect(), false)
            }
            Plan::Delete(names) => (names, Vec::new(), true),
        };
        let freed = self.remove_names(&removed, &set)?;
        let mut deleted = Deleted::default();
        for name in removed.iter().filter_map(|name| familiar(name)) {
            deleted.events.push(event("untag", id, &name));
            deleted.items.push(DeletedItem::Untagged(name));
        }
        if gone {
            deleted.events.push(event("delete", id, &id.to_string()));
            deleted.items.push(DeletedItem::Deleted(id.to_string()));
        }
        Ok((deleted, freed))
    }
}

fn plan(target: &Target, names: &[String], force: bool, users: &[User]) -> Result<Plan> {
    let id = short(&target.id());
    let named: Vec<&String> = names.iter().filter(|name| !is_dangling(name)).collect();
    let running = users.iter().find(|user| user.running);
    match &target.name {
        Some(name) if named.len() > 1 => Ok(Plan::Untag(name.clone())),
        Some(name) => match users.first() {
            Some(user) if !force => Err(Error::conflict(format!(
                "conflict: unable to delete {} (must be forced) - container {} is using its referenced image {id}",
                familiar(name).unwrap_or_default(),
                user.id.short()
            ))),
            _ if running.is_some() => Ok(Plan::Unname(name.clone())),
            _ => Ok(Plan::Delete(names.to_vec())),
        },
        None => {
            if let Some(user) = running {
                return Err(Error::conflict(format!(
                    "conflict: unable to delete {id} (cannot be forced) - image is being used by running container {}",
                    user.id.short()
                )));
            }
            if !force && named.len() > 1 {
                return Err(Error::conflict(format!(
                    "conflict: unable to delete {id} (must be forced) - image is referenced in multiple repositories"
                )));
            }
            if let Some(user) = users.first().filter(|_| !force) {
                return Err(Error::conflict(format!(
                    "conflict: unable to delete {id} (must be forced) - image is being used by stopped container {}",
                    user.id.short()
                )));
            }
            Ok(Plan::Delete(names.to_vec()))
        }
    }
}
