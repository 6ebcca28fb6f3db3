//! Lists: tags of a repository, repositories, and what refers to a manifest; all of them in pages.

use crate::{
    access::Action,
    call::{Call, Reply, json, set},
    limits::{CATALOG_PAGE, PAGE_MAX, REFERRERS_PAGE, WALK},
    name::{Repository, Tag},
    refusal::{Code, Refusal, Result, shown},
    route::escape,
};
use hyper::header::{HeaderName, HeaderValue, LINK};
use rorqual_oci::image::{Descriptor, media};
use rorqual_types::Digest;
use serde_json::{Value, json as value};

const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

/// How many entries the client wants, `otherwise` where it does not say.
fn page(call: &Call, otherwise: usize) -> Result<usize> {
    let Some(text) = call.query.get("n") else { return Ok(otherwise) };
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse::<usize>().unwrap_or(PAGE_MAX);
    if !digits {
        let refusal = Refusal::new(Code::PageInvalid, "the number of entries is a number from 0 on");
        return Err(refusal.about(value!({"n": shown(text)})));
    }
    Ok(number.min(PAGE_MAX))
}

/// Cuts `entries`, of which one more than `limit` was read, and says where the next page begins.
fn cut<T: ToString>(reply_path: &str, entries: &mut Vec<T>, limit: usize) -> Option<String> {
    let more = entries.len() > limit;
    entries.truncate(limit);
    let last = entries.last().filter(|_| more)?.to_string();
    Some(format!("<{reply_path}?n={limit}&last={}>; rel=\"next\"", escape(&last)))
}

fn linked(mut reply: Reply, link: Option<String>) -> Reply {
    if let Some(link) = link {
        set(reply.headers_mut(), LINK, link);
    }
    reply
}

/// The tags that are kept: a page of them, and one more where there is one.
async fn kept_tags(call: &Call, name: &Repository, limit: usize) -> Result<Vec<Tag>> {
    let records = call.registry.records();
    if !records.has_repository(name).await? {
        let refusal = Refusal::new(Code::NameUnknown, "repository name not known to registry");
        return Err(refusal.about(value!({"name": name.as_str()})));
    }
    match limit {
        0 => Ok(Vec::new()),
        limit => Ok(records.tags(name, call.query.get("last"), limit + 1).await?),
    }
}

/// The same of the tags that upstream has; `None` where there is no upstream, or it is away.
async fn upstream_tags(call: &Call, name: &Repository, limit: usize) -> Result<Option<Vec<Tag>>> {
    let Some(upstream) = &call.registry.upstream else { return Ok(None) };
    let Some(tags) = upstream.tags(name).await? else { return Ok(None) };
    let last = call.query.get("last").unwrap_or_default();
    let page = tags.into_iter().filter(|tag| tag.as_str() > last).take(if limit == 0 { 0 } else { limit + 1 });
    Ok(Some(page.collect()))
}

/// GET `tags/list`.
pub(crate) async fn tags(call: &Call, name: &Repository) -> Result<Reply> {
    let limit = page(call, PAGE_MAX)?;
    let mut tags = match upstream_tags(call, name, limit).await? {
        Some(tags) => tags,
        None => kept_tags(call, name, limit).await?,
    };
    let link = cut(&format!("/v2/{name}/tags/list"), &mut tags, limit);
    let tags: Vec<&str> = tags.iter().map(|tag| tag.as_str()).collect();
    Ok(linked(json("application/json", &value!({"name": name.as_str(), "tags": tags})), link))
}

/// GET `_catalog`: the repositories that the client may read.
pub(crate) async fn catalog(call: &Call) -> Result<Reply> {
    let limit = page(call, CATALOG_PAGE)?;
    let records = call.registry.records();
    let mut names: Vec<Repository> = Vec::new();
    let mut after = call.query.get("last").map(str::to_owned);
    while limit > 0 && names.len() <= limit {
        let some = records.repositories(after.as_deref(), WALK).await?;
        let Some(last) = some.last() else { break };
        after = Some(last.to_string());
        names.extend(some.into_iter().filter(|name| call.may(Action::Pull, name)));
    }
    let link = cut("/v2/_catalog", &mut names, limit);
    let names: Vec<&str> = names.iter().map(Repository::as_str).collect();
    Ok(linked(json("application/json", &value!({"repositories": names})), link))
}

/// A page of a list of referrers, as it is filled.
#[derive(Default)]
struct Referrers<'a> {
    /// The types that are wanted; all where there are none.
    wanted: Vec<&'a str>,
    manifests: Vec<Value>,
    bytes: usize,
    /// The last digest that was looked at.
    last: Option<String>,
    /// Whether there is more than fits.
    more: bool,
}

impl Referrers<'_> {
    /// Takes the next descriptor where it is wanted; false where the page is full.
    fn push(&mut self, descriptor: &Descriptor) -> bool {
        if self.wanted.is_empty() || self.wanted.contains(&descriptor.artifact_type.as_str()) {
            let shown = value!(descriptor);
            self.bytes += shown.to_string().len();
            if self.bytes > REFERRERS_PAGE && !self.manifests.is_empty() {
                self.more = true;
                return false;
            }
            self.manifests.push(shown);
        }
        self.last = Some(descriptor.digest.to_string());
        true
    }

    /// Fills it from what is kept.
    async fn fill(&mut self, call: &Call, name: &Repository, subject: &Digest) -> Result<()> {
        let records = call.registry.records();
        loop {
            let some = records.referrers(name, subject, self.last.as_deref(), WALK).await?;
            let Some(end) = some.last().map(Digest::to_string) else { return Ok(()) };
            for digest in some {
                if let Some(descriptor) = records.referrer(name, subject, &digest).await?
                    && !self.push(&descriptor)
                {
                    return Ok(());
                }
            }
            self.last = Some(end);
        }
    }
}

/// GET `referrers`: an index of what refers to `subject`, also where nothing does or the subject is not here.
pub(crate) async fn referrers(call: &Call, name: &Repository, subject: Digest) -> Result<Reply> {
    let wanted: Vec<&str> = call.query.all("artifactType").filter(|kind| !kind.is_empty()).collect();
    let last = call.query.get("last").map(str::to_owned);
    let mut page = Referrers { wanted, last, ..Referrers::default() };
    let told = match &call.registry.upstream {
        Some(upstream) => upstream.referrers(name, &subject).await?,
        None => None,
    };
    match told {
        Some(all) => {
            let last = page.last.clone().unwrap_or_default();
            let _ = all.iter().filter(|descriptor| descriptor.digest.to_string() > last).all(|next| page.push(next));
        }
        None => page.fill(call, name, &subject).await?,
    }
    let Referrers { wanted, manifests, last, more, .. } = page;
    let list = value!({"schemaVersion": 2, "mediaType": media::INDEX, "manifests": manifests});
    let mut reply = json(media::INDEX, &list);
    if !wanted.is_empty() {
        reply.headers_mut().insert(FILTERS_APPLIED, HeaderValue::from_static("artifactType"));
    }
    let link = last.filter(|_| more).map(|last| {
        let kinds: String = wanted.iter().map(|kind| format!("artifactType={}&", escape(kind))).collect();
        format!("</v2/{name}/referrers/{subject}?{kinds}last={last}>; rel=\"next\"")
    });
    Ok(linked(reply, link))
}
