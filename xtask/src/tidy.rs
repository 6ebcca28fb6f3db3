//! `cargo xtask tidy`: the direction of dependencies, where unsafe code may stand, what the shim may link.

use crate::cargo;
use anyhow::{Context as _, Result, bail};
use rorqual_testkit::places;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// Libraries that do I/O, wait, tell the time or draw random numbers: not for a pure crate.
const IMPURE: [&str; 10] =
    ["tokio", "hyper", "rustix", "libc", "nix", "getrandom", "rand", "redb", "tempfile", "tracing-subscriber"];

/// Libraries that have no place in a process that exists once per container.
const NOT_IN_THE_SHIM: [&str; 3] = ["tokio", "hyper", "tracing-subscriber"];

/// Checks all rules, prints every breach, and the largest files.
pub fn run() -> Result<()> {
    let rules = Rules::read(&places::top().join("layers.toml"))?;
    let packages = packages()?;
    let mut breaches = Vec::new();
    arrows(&rules, &packages, &mut breaches);
    purity(&rules, &packages, &mut breaches);
    shim(&packages, &mut breaches);
    let sources = sources(&places::top())?;
    unsafe_code(&sources, &mut breaches);
    largest(&sources);
    for breach in &breaches {
        println!("tidy: {breach}");
    }
    if breaches.is_empty() { Ok(()) } else { bail!("{} breaches of the rules", breaches.len()) }
}

/// What `layers.toml` says: a number per crate, and which are pure.
struct Rules {
    layers: BTreeMap<String, u32>,
    pure: BTreeSet<String>,
}

impl Rules {
    /// Reads the file: sections `[layer.N]` of `crates = [...]`, and one `pure = [...]`. No more of TOML is needed.
    fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let mut rules = Self { layers: BTreeMap::new(), pure: BTreeSet::new() };
        let mut layer = None;
        let plain: String =
            text.lines().map(|line| line.split('#').next().unwrap_or("").trim().to_owned() + "\n").collect();
        for line in
            plain.replace(",\n", ", ").replace("[\n", "[").replace("\n]", "]").lines().filter(|line| !line.is_empty())
        {
            if let Some(number) = line.strip_prefix("[layer.").and_then(|rest| rest.strip_suffix(']')) {
                layer = Some(number.parse().with_context(|| format!("the layer's number in {line}"))?);
                continue;
            }
            let (key, list) = line.split_once('=').with_context(|| format!("a key and a value in {line}"))?;
            let names =
                list.trim().trim_matches(['[', ']']).split(',').map(|name| name.trim().trim_matches('"').to_owned());
            let names: Vec<String> = names.filter(|name| !name.is_empty()).collect();
            match (key.trim(), layer) {
                ("pure", _) => rules.pure.extend(names),
                ("crates", Some(layer)) => rules.layers.extend(names.into_iter().map(|name| (name, layer))),
                _ => bail!("what is {line:?} in {}?", path.display()),
            }
        }
        Ok(rules)
    }
}

/// A package of the workspace: its directory below the top, and what it needs to run (not to be tested).
struct Package {
    name: String,
    needs: Vec<String>,
}

fn packages() -> Result<Vec<Package>> {
    let out = cargo().args(["metadata", "--format-version", "1", "--no-deps", "--offline"]).output()?;
    let metadata: Value = serde_json::from_slice(&out.stdout).context("read cargo's metadata")?;
    let list = metadata["packages"].as_array().context("cargo lists packages")?;
    Ok(list
        .iter()
        .map(|package| {
            let needs = package["dependencies"].as_array().into_iter().flatten();
            let needs = needs.filter(|need| need["kind"] != "dev").filter_map(|need| need["name"].as_str()).map(short);
            Package { name: short(package["name"].as_str().unwrap_or_default()), needs: needs.collect() }
        })
        .collect())
}

fn short(name: &str) -> String {
    // the programs are `rorqual` and `rorquald`; everything else is `rorqual-x`, called x here
    name.strip_prefix("rorqual-").unwrap_or(name).to_owned()
}

fn arrows(rules: &Rules, packages: &[Package], breaches: &mut Vec<String>) {
    for package in packages {
        let Some(own) = rules.layers.get(&package.name) else {
            breaches.push(format!("{} has no layer in layers.toml", package.name));
            continue;
        };
        for need in &package.needs {
            if let Some(layer) = rules.layers.get(need)
                && layer > own
            {
                breaches.push(format!("{} (layer {own}) uses {need} (layer {layer})", package.name));
            }
        }
    }
}

fn purity(rules: &Rules, packages: &[Package], breaches: &mut Vec<String>) {
    for package in packages.iter().filter(|package| rules.pure.contains(&package.name)) {
        for need in &package.needs {
            let ours = rules.layers.contains_key(need);
            if IMPURE.contains(&need.as_str()) || (ours && !rules.pure.contains(need)) {
                breaches.push(format!("{} is pure and uses {need}", package.name));
            }
        }
    }
}

fn shim(packages: &[Package], breaches: &mut Vec<String>) {
    if !packages.iter().any(|package| package.name == "shim") {
        return;
    }
    let out = cargo().args(["tree", "--offline", "-p", "rorqual-shim", "-e", "normal", "--prefix", "none"]).output();
    let Ok(out) = out else {
        breaches.push("cargo tree does not run".to_owned());
        return;
    };
    let tree = String::from_utf8_lossy(&out.stdout).into_owned();
    for name in NOT_IN_THE_SHIM {
        if tree.lines().any(|line| line.split(' ').next() == Some(name)) {
            breaches.push(format!("the shim links {name}: `cargo tree -p rorqual-shim -i {name}` says through what"));
        }
    }
}

struct Source {
    path: String,
    text: String,
}

fn sources(top: &Path) -> Result<Vec<Source>> {
    let mut found = Vec::new();
    let mut dirs = ["crates", "bin", "tests", "testkit", "xtask", "bench", "fuzz"].map(|name| top.join(name)).to_vec();
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).with_context(|| format!("list {}", dir.display()))? {
            let path = entry?.path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
                let path = path.strip_prefix(top).unwrap_or(&path).display().to_string();
                found.push(Source { path, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn unsafe_code(sources: &[Source], breaches: &mut Vec<String>) {
    for source in sources {
        if source.path.starts_with("crates/linux/") {
            continue;
        }
        let root = ["/src/lib.rs", "/src/main.rs"].iter().any(|end| source.path.ends_with(end));
        if root && !source.text.contains("#![forbid(unsafe_code)]") {
            breaches.push(format!("{} does not forbid unsafe code", source.path));
        }
        for (at, line) in source.text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or("");
            let opens =
                ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"].iter().any(|word| code.contains(word));
            if opens && !code.contains('"') {
                breaches.push(format!("{}:{}: unsafe outside crates/linux", source.path, at + 1));
            }
        }
    }
}

fn largest(sources: &[Source]) {
    let mut sizes: Vec<(usize, &str)> =
        sources.iter().map(|source| (source.text.lines().count(), source.path.as_str())).collect();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    println!("largest files:");
    for (lines, path) in sizes.iter().take(10) {
        println!("  {lines:5} {path}");
    }
}
