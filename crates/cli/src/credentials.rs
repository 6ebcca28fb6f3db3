//! Credentials of registries: in `config.json`, or with the helper program that it names for a registry
//! (`credHelpers`) or for all (`credsStore`); the helpers' protocol is that of Docker's credential helpers.

use crate::{
    config::Config,
    failure::{Failure, Result},
    limits::{HELPER_DEADLINE, HELPER_OUTPUT_MAX},
    opts::object,
    system::login::server_key,
    value::Value,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use std::process::Stdio;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
    time::timeout,
};

/// What helpers say where they know nothing.
const NOT_FOUND: &str = "credentials not found in native keychain";
/// The user name that stands for an identity token.
const TOKEN_USER: &str = "<token>";

/// Where a registry's credentials are.
enum Place {
    File,
    /// With this program.
    Helper(String),
}

fn place(config: &Config, server: &str) -> Result<Place> {
    let own = config.get("credHelpers").map(|helpers| helpers.text(server)).unwrap_or_default();
    let name = if own.is_empty() { config.text("credsStore") } else { own };
    match name {
        "" => Ok(Place::File),
        name if name.contains('/') => {
            Err(Failure::message(format!("{name:?} in config.json is no credential helper's name")))
        }
        name => Ok(Place::Helper(format!("docker-credential-{name}"))),
    }
}

/// The credentials of a registry as `X-Registry-Auth` carries them; `None` where there are none.
pub(crate) async fn find(config: &Config, domain: &str) -> Result<Option<Value>> {
    let server = server_key(domain);
    let found = match place(config, &server)? {
        Place::File => in_file(config, &server),
        Place::Helper(program) => in_helper(&program, &server).await?,
    };
    Ok(found.map(|(user, secret, token)| match token.is_empty() {
        true => object([("username", user.into()), ("password", secret.into()), ("serveraddress", server.into())]),
        false => object([("username", user.into()), ("identitytoken", token.into()), ("serveraddress", server.into())]),
    }))
}

/// User, password and identity token as a helper has them.
async fn in_helper(program: &str, server: &str) -> Result<Option<(String, String, String)>> {
    let Some(answer) = ask(program, "get", server.as_bytes()).await? else { return Ok(None) };
    let answer = Value::parse(&answer).map_err(|_| Failure::message(format!("{program}: answered no JSON")))?;
    let (user, secret) = (answer.text("Username").to_owned(), answer.text("Secret").to_owned());
    Ok(Some(match user.as_str() {
        TOKEN_USER => (String::new(), String::new(), secret),
        _ => (user, secret, String::new()),
    }))
}

/// User, password and identity token as the file has them. Old files have addresses where names are now.
fn in_file(config: &Config, server: &str) -> Option<(String, String, String)> {
    let auths = config.get("auths")?;
    let same = |(name, _): &&(String, Value)| host_of(name) == host_of(server);
    let entry = auths.get(server).or_else(|| auths.entries().iter().find(same).map(|(_, entry)| entry))?;
    let token = entry.text("identitytoken").to_owned();
    // Where there is `auth`, it counts; some programs write the parts only.
    let (user, password) = match entry.text("auth") {
        "" => (entry.text("username").to_owned(), entry.text("password").to_owned()),
        encoded => {
            let text = String::from_utf8(BASE64_STANDARD.decode(encoded).ok()?).ok()?;
            let (user, password) = text.split_once(':')?;
            (user.to_owned(), password.trim_end_matches('\0').to_owned())
        }
    };
    let some = !user.is_empty() || !password.is_empty() || !token.is_empty();
    some.then_some((user, password, token))
}

/// The host and port of an address or a name.
fn host_of(name: &str) -> &str {
    let name = name.strip_prefix("https://").or_else(|| name.strip_prefix("http://")).unwrap_or(name);
    name.split('/').next().unwrap_or_default()
}

/// Keeps credentials; gives whether they stand unencrypted in the file.
pub(crate) async fn store(config: &mut Config, server: &str, user: &str, password: &str, token: &str) -> Result<bool> {
    if let Place::Helper(program) = place(config, server)? {
        keep_in_helper(&program, server, user, password, token).await?;
        // Clients find in the file that there are credentials, and with the helper what they are.
        set_entry(config, server, Some(object([])))?;
        return Ok(false);
    }
    let entry = match token.is_empty() {
        true => object([("auth", BASE64_STANDARD.encode(format!("{user}:{password}")).into())]),
        false => object([("auth", BASE64_STANDARD.encode(format!("{user}:")).into()), ("identitytoken", token.into())]),
    };
    set_entry(config, server, Some(entry))?;
    Ok(true)
}

async fn keep_in_helper(program: &str, server: &str, user: &str, password: &str, token: &str) -> Result<()> {
    let (user, secret) = if token.is_empty() { (user, password) } else { (TOKEN_USER, token) };
    let body = object([("ServerURL", server.into()), ("Username", user.into()), ("Secret", secret.into())]);
    ask(program, "store", body.json().as_bytes()).await.map(drop)
}

/// Forgets credentials.
pub(crate) async fn erase(config: &mut Config, server: &str) -> Result<()> {
    if let Place::Helper(program) = place(config, server)? {
        ask(&program, "erase", server.as_bytes()).await?;
    }
    set_entry(config, server, None)
}

fn set_entry(config: &mut Config, server: &str, entry: Option<Value>) -> Result<()> {
    let mut auths = config.get("auths").map_or(&[][..], Value::entries).to_vec();
    let before = auths.len();
    auths.retain(|(name, _)| name != server);
    if entry.is_none() && auths.len() == before {
        return Ok(());
    }
    auths.extend(entry.map(|entry| (server.to_owned(), entry)));
    Ok(config.store("auths", Some(Value::Map(auths)))?)
}

/// Runs a helper; `None` where it knows no credentials.
async fn ask(program: &str, verb: &str, input: &[u8]) -> Result<Option<Vec<u8>>> {
    let failed = |why: String| Failure::message(format!("error getting credentials - err: {program}: {why}"));
    let talk = async {
        let mut child = Command::new(program)
            .arg(verb)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A helper that does not read its input says why in its output.
            let _ = stdin.write_all(input).await;
        }
        let mut output = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(HELPER_OUTPUT_MAX).read_to_end(&mut output).await?;
        }
        Ok::<_, std::io::Error>((child.wait().await?, output))
    };
    let (status, output) = timeout(HELPER_DEADLINE, talk)
        .await
        .map_err(|_| failed(format!("no answer within {} s", HELPER_DEADLINE.as_secs())))?
        .map_err(|error| failed(error.to_string()))?;
    if status.success() {
        return Ok(Some(output));
    }
    let said = String::from_utf8_lossy(&output).trim().to_owned();
    if verb != "store" && said == NOT_FOUND { Ok(None) } else { Err(failed(format!("{status}, out: `{said}`"))) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt};

    fn config(text: &str) -> (tempfile::TempDir, Config) {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("config.json"), text).unwrap();
        let config = Config::load(directory.path()).unwrap();
        (directory, config)
    }

    #[tokio::test]
    async fn the_file_keeps_passwords_and_tokens() {
        let (_directory, mut config) = config("{}");
        assert!(find(&config, "r:5000").await.unwrap().is_none());
        assert!(store(&mut config, "r:5000", "me", "a:b", "").await.unwrap());
        let found = find(&config, "r:5000").await.unwrap().unwrap();
        assert_eq!((found.text("username"), found.text("password")), ("me", "a:b"));
        assert!(store(&mut config, "r:5000", "me", "", "t0").await.unwrap());
        let found = find(&config, "r:5000").await.unwrap().unwrap();
        assert_eq!((found.text("identitytoken"), found.text("password")), ("t0", ""));
        erase(&mut config, "r:5000").await.unwrap();
        assert!(find(&config, "r:5000").await.unwrap().is_none());
    }

    #[test]
    fn old_files_have_addresses_and_others_the_parts_alone() {
        let (_directory, config) = config(
            r#"{"auths":{"https://r:5000/v1/":{"auth":"bWU6YQ=="},"http://plain":{"username":"me","password":"b"},
                "plain":{"identitytoken":"t"},"https://index.docker.io/v1/":{"username":"hub","password":"c"},"bare":{},
                "broken":{"auth":"?","username":"me","password":"d"}}}"#,
        );
        let found =
            |server: &str| in_file(&config, server).map(|(user, password, token)| [user, password, token].concat());
        assert_eq!(found("r:5000").as_deref(), Some("mea"));
        assert_eq!(found("plain").as_deref(), Some("t"), "the very name goes first");
        assert_eq!(found("https://index.docker.io/v1/").as_deref(), Some("hubc"));
        assert_eq!([found("r"), found("bare"), found("broken"), found("other")], [None, None, None, None]);
    }

    #[test]
    fn a_registry_may_have_a_helper_of_its_own() {
        let (_directory, config) = config(r#"{"credsStore":"all","credHelpers":{"r:5000":"own","evil":"../x"}}"#);
        let name = |server: &str| match place(&config, server) {
            Ok(Place::Helper(name)) => name,
            _ => "none".to_owned(),
        };
        assert_eq!(name("r:5000"), "docker-credential-own");
        assert_eq!(name("other"), "docker-credential-all");
        assert!(place(&config, "evil").is_err());
    }

    #[tokio::test]
    async fn helpers_speak_their_protocol() {
        let directory = tempfile::tempdir().unwrap();
        let (program, kept) = (directory.path().join("helper"), directory.path().join("kept"));
        let script = format!(
            "#!/bin/sh\ncase $1 in store) cat >{0};; erase) rm -f {0};;\n\
             get) [ -e {0} ] && cat {0} || {{ echo '{NOT_FOUND}'; exit 1; }};; *) exit 3;; esac\n",
            kept.display()
        );
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let program = program.to_str().unwrap();
        assert!(in_helper(program, "r").await.unwrap().is_none());
        keep_in_helper(program, "r", "me", "secret", "").await.unwrap();
        assert_eq!(in_helper(program, "r").await.unwrap(), Some(("me".into(), "secret".into(), String::new())));
        keep_in_helper(program, "r", "me", "", "t0").await.unwrap();
        assert_eq!(in_helper(program, "r").await.unwrap(), Some((String::new(), String::new(), "t0".into())));
        ask(program, "erase", b"r").await.unwrap();
        assert!(in_helper(program, "r").await.unwrap().is_none());
        assert!(ask(program, "other", b"").await.is_err());
    }
}
