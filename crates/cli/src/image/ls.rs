//! `images`.

use super::tree;
use crate::{
    args::{Args, Command, Flag, Matches},
    cli::Cli,
    failure::{Failure, Result},
    human,
    limits::SIZE_DIGITS,
    opts::filter::Filters,
    print::{Listing, Row, row, short_id},
    system::moment,
    value::Value,
};
use jiff::Timestamp;
use rorqual_types::Reference;

/// `rorqual images`.
pub const COMMAND: Command = Command {
    path: "image ls",
    aliases: &["image list", "images"],
    operands: "[REPOSITORY[:TAG]]",
    about: "List images",
    args: Args::Between(0, 1),
    flags: &[
        Flag::switch("all", "Show intermediate images too").short('a'),
        Flag::switch("digests", "Show digests"),
        Flag::filter("Only those that match"),
        Flag::format(),
        Flag::switch("no-trunc", "Do not cut long values"),
        Flag::switch("quiet", "Print IDs only").short('q'),
        Flag::switch("tree", "Show the platforms of each image"),
    ],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

/// The list of images.
pub(crate) const LISTING: Listing<'static> = Listing {
    kind: "*formatter.imageContext",
    headings: &[
        ("Containers", "CONTAINERS"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedSince", "CREATED"),
        ("Digest", "DIGEST"),
        ("ID", "IMAGE ID"),
        ("Repository", "REPOSITORY"),
        ("SharedSize", "SHARED SIZE"),
        ("Size", "SIZE"),
        ("Tag", "TAG"),
        ("UniqueSize", "UNIQUE SIZE"),
        ("VirtualSize", "SIZE"),
    ],
    table: "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{if .CreatedSince}}{{.CreatedSince}}{{else}}N/A{{end}}\t{{.Size}}",
    quiet: "{{.ID}}",
    raw: "repository: {{.Repository}}\ntag: {{.Tag}}\nimage_id: {{.ID}}\ncreated_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}\n",
};

/// With the column of digests.
const WITH_DIGESTS: &str = "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{if .CreatedSince}}{{.CreatedSince}}{{else}}N/A{{end}}\t{{.Size}}";

const NONE: &str = "<none>";

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let mut filters = Filters::parse(matches.list("filter"));
    if let Some(reference) = matches.args().first() {
        filters.add("reference", reference);
    }
    let tree = matches.on("tree");
    if tree {
        check_tree(matches)?;
    }
    let client = cli.client()?;
    let request = client
        .get("/images/json")
        .query_flag("all", matches.on("all"))
        .query_some("filters", filters.query())
        .query_flag("manifests", tree);
    let images: Value = request.send().await?.json().await?;
    if tree {
        cli.print(tree::shown(images.items()))?;
        return Ok(0);
    }
    let format = cli.list_format(matches, "imagesFormat");
    let whole = matches.on("no-trunc");
    let digests = matches.on("digests") || format.contains(".Digest");
    let now = Timestamp::now();
    let rows = images.items().iter().flat_map(|image| rows_of(image, whole, digests, now)).collect();
    let table = if matches.on("digests") { WITH_DIGESTS } else { LISTING.table };
    cli.print(Listing { table, ..LISTING }.render(&format, matches.on("quiet"), rows)?)?;
    Ok(0)
}

fn check_tree(matches: &Matches) -> Result<()> {
    for (flag, given) in [
        ("--quiet", matches.on("quiet")),
        ("--no-trunc", matches.on("no-trunc")),
        ("--digests", matches.on("digests")),
        ("--format", !matches.text("format").is_empty()),
    ] {
        if given {
            return Err(Failure::message(format!("{flag} is not yet supported with --tree")));
        }
    }
    Ok(())
}

/// A repository with its tags and digests, in the order they came.
struct Repository {
    name: String,
    tags: Vec<String>,
    digests: Vec<String>,
}

fn repositories(image: &Value) -> Vec<Repository> {
    let mut all: Vec<Repository> = Vec::new();
    let mut entry = |name: &str| -> usize {
        match all.iter().position(|known| known.name == name) {
            Some(at) => at,
            None => {
                all.push(Repository { name: name.to_owned(), tags: Vec::new(), digests: Vec::new() });
                all.len() - 1
            }
        }
    };
    let mut found: Vec<(usize, Option<String>, Option<String>)> = Vec::new();
    for field in ["RepoTags", "RepoDigests"] {
        for text in image.at(&[field]).items().iter().filter_map(Value::as_str) {
            let Ok(reference) = text.parse::<Reference>() else { continue };
            let at = entry(reference.familiar_name());
            match field {
                "RepoTags" => found.push((at, reference.tag().map(str::to_owned), None)),
                _ => found.push((at, None, reference.digest().map(ToString::to_string))),
            }
        }
    }
    for (at, tag, digest) in found {
        all[at].tags.extend(tag);
        all[at].digests.extend(digest);
    }
    all
}

/// One row for each tag, or for each tag and digest.
fn rows_of(image: &Value, whole: bool, digests: bool, now: Timestamp) -> Vec<Row> {
    let one = |repository: &str, tag: &str, digest: &str| row_of(image, whole, now, repository, tag, digest);
    let repositories = repositories(image);
    if repositories.is_empty() {
        return vec![one(NONE, NONE, NONE)];
    }
    let mut rows = Vec::new();
    for Repository { name, tags, digests: known } in &repositories {
        match (tags.is_empty(), digests) {
            (false, false) => rows.extend(tags.iter().map(|tag| one(name, tag, NONE))),
            (true, false) => rows.push(one(name, NONE, NONE)),
            (false, true) if known.is_empty() => rows.extend(tags.iter().map(|tag| one(name, tag, NONE))),
            (false, true) => {
                rows.extend(tags.iter().flat_map(|tag| known.iter().map(|digest| one(name, tag, digest))));
            }
            (true, true) => rows.extend(known.iter().map(|digest| one(name, NONE, digest))),
        }
    }
    rows
}

/// The row of `system df -v`: one an image, its first name.
pub(crate) fn usage_row(image: &Value, whole: bool, now: Timestamp) -> Row {
    let repositories = repositories(image);
    match repositories.first() {
        None => row_of(image, whole, now, NONE, NONE, ""),
        Some(first) => row_of(image, whole, now, &first.name, first.tags.first().map_or(NONE, String::as_str), ""),
    }
}

fn row_of(image: &Value, whole: bool, now: Timestamp, repository: &str, tag: &str, digest: &str) -> Row {
    let id = image.text("Id");
    let created = image.int("Created");
    let size = image.int("Size");
    let (shared, containers) = (image.int("SharedSize"), image.int("Containers"));
    let known = |value: i64, text: String| if value == -1 { "N/A".to_owned() } else { text };
    row([
        ("Containers", known(containers, containers.to_string()).into()),
        ("CreatedAt", moment::go_time(created).into()),
        ("CreatedSince", if created == 0 { String::new() } else { human::ago(created, now) }.into()),
        ("Digest", digest.into()),
        ("ID", if whole { id } else { short_id(id) }.into()),
        ("Repository", repository.into()),
        ("SharedSize", known(shared, human::size(shared as f64, 4)).into()),
        ("Size", human::size(size as f64, SIZE_DIGITS).into()),
        ("Tag", tag.into()),
        ("UniqueSize", known(shared, human::size((size - shared) as f64, 4)).into()),
        ("VirtualSize", human::size(size as f64, 4).into()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_dockers_to_the_byte() {
        let images = Value::parse(include_bytes!("../../tests/golden/images.json")).unwrap();
        let now = include_str!("../../tests/golden/now.txt").trim().parse().unwrap();
        let now = Timestamp::from_second(now).unwrap();
        let rows = |digests| images.items().iter().flat_map(|image| rows_of(image, false, digests, now)).collect();
        let table = Listing { table: WITH_DIGESTS, ..LISTING }.render("", false, rows(true)).unwrap();
        assert_eq!(table, include_str!("../../tests/golden/images.txt"));
        let json = LISTING.render("json", false, rows(false)).unwrap();
        assert_eq!(json, include_str!("../../tests/golden/images-json.txt"));
    }
}
