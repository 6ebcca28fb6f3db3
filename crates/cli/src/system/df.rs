//! `system df`: what takes space.

use crate::{
    Failure,
    args::{Args, Command, Flag, Matches},
    cli::Cli,
    container,
    failure::Result,
    human, image,
    limits::SIZE_DIGITS,
    opts::object,
    print::{Listing, Row, row},
    template::Template,
    value::Value,
    volume,
};
use jiff::Timestamp;

/// `rorqual system df`.
pub const COMMAND: Command = Command {
    path: "system df",
    aliases: &[],
    operands: "",
    about: "Show what takes space",
    args: Args::None,
    flags: &[Flag::format(), Flag::switch("verbose", "Show each object").short('v')],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

const SUMMARY: Listing<'_> = Listing {
    kind: "*formatter.diskUsageContext",
    headings: &[
        ("Type", "TYPE"),
        ("TotalCount", "TOTAL"),
        ("Active", "ACTIVE"),
        ("Size", "SIZE"),
        ("Reclaimable", "RECLAIMABLE"),
    ],
    table: "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}",
    quiet: "",
    raw: "type: {{.Type}}\ntotal: {{.TotalCount}}\nactive: {{.Active}}\nsize: {{.Size}}\nreclaimable: {{.Reclaimable}}\n",
};

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let client = cli.client()?;
    let usage: Value = client.get("/system/df").send().await?.json().await?;
    let format = matches.text("format");
    let text = match (matches.on("verbose"), format) {
        (false, format) => SUMMARY.render(format, false, summary(&usage))?,
        (true, "" | "table") => verbose(&usage)?,
        (true, format) => verbose_template(&usage, format)?,
    };
    cli.print(text)?;
    Ok(0)
}

fn summary(usage: &Value) -> Vec<Row> {
    let line = |kind: &str, total: usize, active: usize, size: i64, reclaimable: i64, percent: bool| {
        let mut text = human::size(reclaimable as f64, 4);
        if percent && size > 0 {
            text.push_str(&format!(" ({}%)", reclaimable * 100 / size));
        }
        row([
            ("Type", kind.into()),
            ("TotalCount", total.to_string().into()),
            ("Active", active.to_string().into()),
            ("Size", human::size(size as f64, 4).into()),
            ("Reclaimable", text.into()),
        ])
    };
    let sum = |items: &[Value], bytes: &dyn Fn(&Value) -> i64| items.iter().map(bytes).sum::<i64>();

    let images = usage.at(&["Images"]).items();
    let layers = usage.int("LayersSize");
    let used = |image: &&Value| image.int("Containers") > 0;
    let shared = |image: &Value| image.int("SharedSize").max(0);
    let in_use = images
        .iter()
        .filter(used)
        .filter(|image| image.int("Size") != -1 && image.int("SharedSize") != -1)
        .map(|image| image.int("Size") - shared(image))
        .sum::<i64>();

    let containers = usage.at(&["Containers"]).items();
    let running = |container: &&Value| matches!(container.text("State"), "running" | "paused" | "restarting");
    let own = |container: &Value| container.int("SizeRw");
    let stopped = containers.iter().filter(|container| !running(container)).map(own).sum();

    let volumes = usage.at(&["Volumes"]).items();
    let volume_size = |volume: &Value| volume.at(&["UsageData"]).int("Size").max(0);
    let links = |volume: &Value| volume.at(&["UsageData"]).int("RefCount");
    let unused = volumes.iter().filter(|volume| links(volume) == 0).map(volume_size).sum();

    let caches = usage.at(&["BuildCache"]).items();
    let cache_size = |cache: &Value| if cache.is_true("Shared") { 0 } else { cache.int("Size") };
    let idle = caches.iter().filter(|cache| !cache.is_true("InUse")).map(cache_size).sum();
    vec![
        line("Images", images.len(), images.iter().filter(used).count(), layers, layers - in_use, true),
        line(
            "Containers",
            containers.len(),
            containers.iter().filter(running).count(),
            sum(containers, &own),
            stopped,
            true,
        ),
        line(
            "Local Volumes",
            volumes.len(),
            volumes.iter().filter(|volume| links(volume) > 0).count(),
            sum(volumes, &volume_size),
            unused,
            true,
        ),
        line(
            "Build Cache",
            caches.len(),
            caches.iter().filter(|cache| cache.is_true("InUse")).count(),
            sum(caches, &cache_size),
            idle,
            false,
        ),
    ]
}

const IMAGES: Listing<'_> = Listing {
    table: "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}",
    ..image::ls::LISTING
};

const CONTAINERS: Listing<'_> = Listing {
    table: "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}",
    ..container::ls::LISTING
};

const VOLUMES: Listing<'_> = Listing { table: "{{.Name}}\t{{.Links}}\t{{.Size}}", ..volume::ls::LISTING };

const CACHES: Listing<'_> = Listing {
    kind: "*formatter.buildCacheContext",
    headings: &[
        ("ID", "CACHE ID"),
        ("CacheType", "CACHE TYPE"),
        ("Size", "SIZE"),
        ("CreatedSince", "CREATED"),
        ("LastUsedSince", "LAST USED"),
        ("UsageCount", "USAGE"),
        ("Shared", "SHARED"),
    ],
    table: "{{.ID}}\t{{.CacheType}}\t{{.Size}}\t{{.CreatedSince}}\t{{.LastUsedSince}}\t{{.UsageCount}}\t{{.Shared}}",
    quiet: "",
    raw: "",
};

struct Rows {
    images: Vec<Row>,
    containers: Vec<Row>,
    volumes: Vec<Row>,
    caches: Vec<Row>,
}

fn rows(usage: &Value, whole: bool) -> Rows {
    let now = Timestamp::now();
    let images = usage.at(&["Images"]).items().iter().map(|image| image::ls::usage_row(image, whole, now)).collect();
    let containers = usage.at(&["Containers"]).items().iter().map(|container| {
        let mut row = container::ls::row_of(container, whole, now);
        // The whole size of a container is its image's business.
        row.retain(|(name, _)| name != "Size");
        row.push(("Size".to_owned(), human::size(container.int("SizeRw") as f64, SIZE_DIGITS).into()));
        row
    });
    let volumes = usage.at(&["Volumes"]).items().iter().map(volume::ls::row_of).collect();
    let caches = usage.at(&["BuildCache"]).items().iter().map(|cache| {
        let since = |name: &str| match cache.text(name).parse::<Timestamp>() {
            Ok(moment) => human::ago(moment.as_second(), now),
            Err(_) => String::new(),
        };
        row([
            ("ID", crate::print::short_id(cache.text("ID")).into()),
            ("CacheType", cache.text("Type").into()),
            ("Size", human::size(cache.int("Size") as f64, SIZE_DIGITS).into()),
            ("CreatedSince", since("CreatedAt").into()),
            ("LastUsedSince", since("LastUsedAt").into()),
            ("UsageCount", cache.int("UsageCount").to_string().into()),
            ("Shared", cache.is_true("Shared").to_string().into()),
            ("InUse", cache.is_true("InUse").to_string().into()),
        ])
    });
    Rows { images, containers: containers.collect(), volumes, caches: caches.collect() }
}

fn verbose(usage: &Value) -> Result<String> {
    let rows = rows(usage, false);
    let cached: i64 = usage
        .at(&["BuildCache"])
        .items()
        .iter()
        .filter(|cache| !cache.is_true("Shared"))
        .map(|cache| cache.int("Size"))
        .sum();
    Ok(format!(
        "Images space usage:\n\n{}\nContainers space usage:\n\n{}\nLocal Volumes space usage:\n\n{}\nBuild cache usage: {}\n\n{}{}",
        IMAGES.render("", false, rows.images)?,
        CONTAINERS.render("", false, rows.containers)?,
        VOLUMES.render("", false, rows.volumes)?,
        human::size(cached as f64, 4),
        CACHES.render("", false, rows.caches)?,
        data_root(usage.at(&["DataRoot"])),
    ))
}

/// The whole data root, where the daemon is ours: its parts add up to what `du` says.
fn data_root(usage: &Value) -> String {
    let total = usage.int("Total");
    if total == 0 {
        return String::new();
    }
    let part = |name: &str| human::size(usage.int(name) as f64, 4);
    format!(
        "\nData root usage: {} (images {}, containers {}, volumes {}, records {}, other {})\n",
        human::size(total as f64, 4),
        part("Images"),
        part("Containers"),
        part("Volumes"),
        part("Records"),
        part("Other"),
    )
}

fn verbose_template(usage: &Value, format: &str) -> Result<String> {
    let rows = rows(usage, true);
    let list = |rows: Vec<Row>| {
        let sorted = rows.into_iter().map(|mut row| {
            row.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Map(row)
        });
        Value::List(sorted.collect())
    };
    let all = object([
        ("Images", list(rows.images)),
        ("Containers", list(rows.containers)),
        ("Volumes", list(rows.volumes)),
        ("BuildCache", list(rows.caches)),
    ]);
    let format = if format == "json" { "{{json .}}" } else { format };
    let template =
        Template::parse(format).map_err(|why| Failure::status(64, format!("template parsing error: {why}")))?;
    template.render(&all, None).map(|text| text + "\n").map_err(Failure::message)
}
