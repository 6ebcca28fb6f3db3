//! What the engine must do, each as a fact.

use crate::{World, image};
use rorqual_api_types::container::{Config, CreateRequest, ExecConfig, HostConfig, RestartPolicy};
use rorqual_engine::{
    Engine,
    containers::{
        AttachOptions, CreateOptions, ExecStartOptions, ExecStarted, ListOptions, LogOptions, RemoveOptions,
        StopOptions, WaitCondition, WaitResult,
    },
    events::EventOptions,
};
use rorqual_error::Kind;
use rorqual_types::Filters;
use std::time::Duration;

/// Runs those whose name contains `filter`.
pub async fn all(world: &mut World, filter: Option<&str>) {
    macro_rules! run {
        ($($name:ident),* $(,)?) => {
            $(
                if filter.is_none_or(|filter| stringify!($name).contains(filter)) {
                    println!("{} ...", stringify!($name));
                    let limit = Duration::from_secs(60);
                    tokio::time::timeout(limit, $name(world)).await.expect("the scenario ends in time");
                }
            )*
        };
    }
    run!(
        exit_codes_are_those_of_the_program,
        output_is_logged_and_attached_without_loss,
        input_reaches_the_program_and_ends,
        an_exec_has_its_own_streams_and_code,
        a_missing_program_is_127_and_leaves_nothing,
        a_stop_is_patient_and_then_kills,
        names_and_states_are_guarded,
        a_policy_restarts_and_gives_up,
        a_container_removes_itself,
        a_volume_is_filled_from_the_image,
        a_running_container_outlives_the_engine,
        an_exit_without_the_engine_is_reported,
        the_supervisors_death_is_the_containers,
        thirty_two_starts_at_once,
    );
}

fn request(cmd: &[&str]) -> CreateOptions {
    let cmd = Some(cmd.iter().map(|word| (*word).to_owned()).collect());
    let config = Config { image: image::NAME.into(), cmd, ..Config::default() };
    let host = HostConfig { network_mode: "none".into(), ..HostConfig::default() };
    CreateOptions {
        request: CreateRequest { config, host_config: Some(host), networking_config: None },
        ..CreateOptions::default()
    }
}

async fn create(engine: &Engine, options: CreateOptions) -> String {
    engine.containers.create(options).await.expect("a container").id.to_string()
}

async fn start(engine: &Engine, cmd: &[&str]) -> String {
    let id = create(engine, request(cmd)).await;
    engine.containers.start(&id).await.expect("it starts");
    id
}

async fn wait(engine: &Engine, id: &str) -> WaitResult {
    engine.containers.wait(id, WaitCondition::NotRunning).expect("a wait").finished().await
}

async fn remove(engine: &Engine, id: &str) {
    let options = RemoveOptions { force: true, volumes: true, link: false };
    engine.containers.remove(id, options).await.expect("it is removed");
}

async fn logs(engine: &Engine, id: &str) -> String {
    let options = LogOptions { stdout: true, stderr: true, ..LogOptions::default() };
    let mut stream = engine.containers.logs(id, options).await.expect("logs");
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.bytes.next().await {
        bytes.extend_from_slice(&chunk.expect("a chunk"));
    }
    unframe(&bytes)
}

/// The payloads of a stream of frames, those of standard error marked.
fn unframe(mut bytes: &[u8]) -> String {
    let mut text = String::new();
    while let Some((head, rest)) = bytes.split_at_checked(8) {
        let length = u32::from_be_bytes(head[4..].try_into().expect("four bytes")) as usize;
        if head[0] == 2 {
            text.push('!');
        }
        text.push_str(&String::from_utf8_lossy(&rest[..length]));
        bytes = &rest[length..];
    }
    text
}

async fn exit_codes_are_those_of_the_program(world: &mut World) {
    for (cmd, code) in [(&["true"][..], 0), (&["false"], 1), (&["sh", "-c", "exit 42"], 42)] {
        let id = create(world.engine(), request(cmd)).await;
        let mut armed = world.engine().containers.wait(&id, WaitCondition::NextExit).expect("a wait");
        world.engine().containers.start(&id).await.expect("it starts");
        assert_eq!(armed.finished().await.exit_code, code, "{cmd:?}");
        assert_eq!(wait(world.engine(), &id).await.exit_code, code);
        let state = world.engine().containers.inspect(&id).expect("it is there").state;
        assert_eq!((state.status.as_str(), state.exit_code, state.pid), ("exited", code, 0));
        remove(world.engine(), &id).await;
    }
}

async fn output_is_logged_and_attached_without_loss(world: &mut World) {
    let id = create(world.engine(), request(&["sh", "-c", "echo out; echo err >&2; echo more"])).await;
    let options = AttachOptions { stream: true, stdout: true, stderr: true, ..AttachOptions::default() };
    let session = world.engine().containers.attach(&id, options).await.expect("a session");
    world.engine().containers.start(&id).await.expect("it starts");
    let mut seen = Vec::new();
    session.run(tokio::io::empty(), &mut seen).await.expect("the session ends");
    for expected in ["out\n", "!err\n", "more\n"] {
        assert!(unframe(&seen).contains(expected), "{:?}", unframe(&seen));
    }
    wait(world.engine(), &id).await;
    assert!(logs(world.engine(), &id).await.contains("more\n"));
    remove(world.engine(), &id).await;
}

async fn input_reaches_the_program_and_ends(world: &mut World) {
    let mut options = request(&["cat"]);
    options.request.config.open_stdin = true;
    options.request.config.stdin_once = true;
    let id = create(world.engine(), options).await;
    let attach = AttachOptions { stream: true, stdin: true, stdout: true, ..AttachOptions::default() };
    let session = world.engine().containers.attach(&id, attach).await.expect("a session");
    world.engine().containers.start(&id).await.expect("it starts");
    let mut seen = Vec::new();
    session.run(&b"one\ntwo\n"[..], &mut seen).await.expect("the session ends");
    assert_eq!(unframe(&seen), "one\ntwo\n");
    assert_eq!(wait(world.engine(), &id).await.exit_code, 0);
    remove(world.engine(), &id).await;
}

async fn exec(engine: &Engine, id: &str, cmd: &[&str]) -> (String, i64) {
    let config = ExecConfig {
        cmd: Some(cmd.iter().map(|word| (*word).to_owned()).collect()),
        attach_stdout: true,
        attach_stderr: true,
        ..ExecConfig::default()
    };
    let exec = engine.containers.exec_create(id, config).await.expect("an exec");
    let ExecStarted::Attached(session) =
        engine.containers.exec_start(&exec, ExecStartOptions::default()).await.expect("it starts")
    else {
        panic!("not attached");
    };
    let mut seen = Vec::new();
    session.run(tokio::io::empty(), &mut seen).await.expect("the session ends");
    loop {
        let state = engine.containers.exec_inspect(&exec).expect("it is kept");
        if let Some(code) = state.exit_code {
            return (unframe(&seen), code);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn an_exec_has_its_own_streams_and_code(world: &mut World) {
    let id = start(world.engine(), &["sleep", "100"]).await;
    assert_eq!(exec(world.engine(), &id, &["echo", "hi"]).await, ("hi\n".into(), 0));
    assert_eq!(exec(world.engine(), &id, &["sh", "-c", "echo no >&2; exit 9"]).await, ("!no\n".into(), 9));
    let missing = ExecConfig { cmd: Some(vec!["nope".into()]), attach_stdout: true, ..ExecConfig::default() };
    let missing = world.engine().containers.exec_create(&id, missing).await.expect("an exec");
    let error = world.engine().containers.exec_start(&missing, ExecStartOptions::default()).await.unwrap_err();
    assert!(error.to_string().contains("executable file not found in $PATH"), "{error}");
    assert_eq!(world.engine().containers.exec_inspect(&missing).expect("kept").exit_code, Some(127));
    remove(world.engine(), &id).await;
}

async fn a_missing_program_is_127_and_leaves_nothing(world: &mut World) {
    let id = create(world.engine(), request(&["nope"])).await;
    let error = world.engine().containers.start(&id).await.unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidArgument);
    assert!(error.to_string().contains("executable file not found in $PATH"), "{error}");
    let state = world.engine().containers.inspect(&id).expect("it is there").state;
    assert_eq!((state.status.as_str(), state.exit_code), ("created", 127));
    assert!(!world.config.exec_root.join("c").join(&id).exists());
    remove(world.engine(), &id).await;
}

async fn a_stop_is_patient_and_then_kills(world: &mut World) {
    let script = "trap 'exit 3' TERM; while :; do sleep 0.05; done";
    let id = start(world.engine(), &["sh", "-c", script]).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.engine().containers.stop(&id, StopOptions::default()).await.expect("it stops");
    assert_eq!(wait(world.engine(), &id).await.exit_code, 3);
    let again = world.engine().containers.stop(&id, StopOptions::default()).await.unwrap_err();
    assert_eq!(again.kind(), Kind::NotModified);
    remove(world.engine(), &id).await;
    let id = start(world.engine(), &["sleep", "100"]).await;
    let options = StopOptions { signal: None, timeout_s: Some(0) };
    world.engine().containers.stop(&id, options).await.expect("it is killed");
    assert_eq!(wait(world.engine(), &id).await.exit_code, 137);
    remove(world.engine(), &id).await;
}

async fn names_and_states_are_guarded(world: &mut World) {
    let containers = &world.engine().containers;
    let mut options = request(&["sleep", "100"]);
    options.name = Some("guarded".parse().expect("a name"));
    let id = create(world.engine(), options.clone()).await;
    let taken = containers.create(options).await.unwrap_err();
    assert!(taken.to_string().contains("is already in use by container"), "{taken}");
    containers.start("guarded").await.expect("it starts");
    assert_eq!(containers.start("guarded").await.unwrap_err().kind(), Kind::NotModified);
    let running = containers.remove("guarded", RemoveOptions::default()).await.unwrap_err();
    assert_eq!(
        running.to_string(),
        "cannot remove container \"guarded\": container is running: stop the container before removing or force remove"
    );
    containers.pause("guarded").await.expect("it pauses");
    assert_eq!(containers.inspect(&id).expect("there").state.status, "paused");
    containers.unpause("guarded").await.expect("it goes on");
    containers.rename("guarded", "other".parse().expect("a name")).await.expect("renamed");
    assert!(containers.inspect("guarded").is_err());
    let listed = containers.list(ListOptions::default()).await.expect("a list");
    assert_eq!(listed.iter().filter(|line| line.names == ["/other"]).count(), 1);
    containers.kill("other", None).await.expect("killed");
    let error = containers.kill("other", None).await.unwrap_err().to_string();
    assert_eq!(error, format!("cannot kill container: other: container {id} is not running"));
    remove(world.engine(), &id).await;
}

async fn a_policy_restarts_and_gives_up(world: &mut World) {
    let mut options = request(&["false"]);
    let policy = RestartPolicy { name: "on-failure".into(), maximum_retry_count: 2 };
    options.request.host_config.as_mut().expect("set").restart_policy = policy;
    let id = create(world.engine(), options).await;
    let containers = &world.engine().containers;
    let mut armed = containers.wait(&id, WaitCondition::NextExit).expect("a wait");
    containers.start(&id).await.expect("it starts");
    assert_eq!(armed.finished().await.exit_code, 1);
    // A wait ends at each exit; a restart follows the first two.
    while containers.inspect(&id).expect("there").state.status != "exited" {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.engine().containers.inspect(&id).expect("there").restart_count, 2);
    remove(world.engine(), &id).await;
}

async fn a_container_removes_itself(world: &mut World) {
    let mut options = request(&["sh", "-c", "exit 5"]);
    options.request.host_config.as_mut().expect("set").auto_remove = true;
    let id = create(world.engine(), options).await;
    let mut armed = world.engine().containers.wait(&id, WaitCondition::Removed).expect("a wait");
    world.engine().containers.start(&id).await.expect("it starts");
    assert_eq!(armed.finished().await, WaitResult { exit_code: 5, error: None });
    assert!(world.engine().containers.inspect(&id).is_err());
}

async fn a_volume_is_filled_from_the_image(world: &mut World) {
    let mut options = request(&["cat", "/data/seed"]);
    options.request.host_config.as_mut().expect("set").binds = Some(vec!["itdata:/data".into()]);
    let id = create(world.engine(), options).await;
    world.engine().containers.start(&id).await.expect("it starts");
    assert_eq!(wait(world.engine(), &id).await.exit_code, 0);
    assert_eq!(logs(world.engine(), &id).await, "seed\n");
    assert_eq!(world.engine().volumes.remove("itdata", false).await.unwrap_err().kind(), Kind::Conflict);
    remove(world.engine(), &id).await;
    world.engine().volumes.remove("itdata", false).await.expect("nobody uses it");
}

async fn a_running_container_outlives_the_engine(world: &mut World) {
    let script = "i=0; while :; do echo $i; i=$((i+1)); sleep 0.02; done";
    let id = start(world.engine(), &["sh", "-c", script]).await;
    let pid = world.engine().containers.inspect(&id).expect("there").state.pid;
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.reopen().await;
    let state = world.engine().containers.inspect(&id).expect("it is there").state;
    assert_eq!((state.status.as_str(), state.pid), ("running", pid));
    assert_eq!(exec(world.engine(), &id, &["echo", "adopted"]).await.0, "adopted\n");
    world.engine().containers.kill(&id, None).await.expect("it is killed");
    let text = logs(world.engine(), &id).await;
    let numbers: Vec<u32> = text.lines().map(|line| line.parse().expect("a number")).collect();
    assert!(numbers.iter().enumerate().all(|(index, number)| index == *number as usize), "{numbers:?}");
    remove(world.engine(), &id).await;
}

async fn an_exit_without_the_engine_is_reported(world: &mut World) {
    let id = start(world.engine(), &["sh", "-c", "sleep 0.2; exit 6"]).await;
    world.close().await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    world.reopen().await;
    assert_eq!(wait(world.engine(), &id).await.exit_code, 6);
    remove(world.engine(), &id).await;
}

async fn the_supervisors_death_is_the_containers(world: &mut World) {
    let id = start(world.engine(), &["sleep", "100"]).await;
    let pid = world.engine().containers.inspect(&id).expect("there").state.pid;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let parent: i32 = stat.split_whitespace().nth(3).and_then(|field| field.parse().ok()).expect("a parent");
    let shim = rustix::process::Pid::from_raw(parent).expect("the shim");
    rustix::process::kill_process(shim, rustix::process::Signal::KILL).expect("it is killed");
    let ended = tokio::time::timeout(Duration::from_millis(500), wait(world.engine(), &id)).await;
    assert_eq!(ended.expect("noticed at once").exit_code, 137);
    let state = world.engine().containers.inspect(&id).expect("there").state;
    assert!(state.error.contains("supervisor"), "{}", state.error);
    remove(world.engine(), &id).await;
}

async fn thirty_two_starts_at_once(world: &mut World) {
    let mut events = world.engine().events.subscribe(EventOptions::default());
    let tasks: Vec<_> = (0..32)
        .map(|_| {
            let engine = world.engine().clone();
            tokio::spawn(async move {
                let id = start(&engine, &["true"]).await;
                assert_eq!(wait(&engine, &id).await.exit_code, 0);
                remove(&engine, &id).await;
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("it ran");
    }
    let mut destroyed = 0;
    while destroyed < 32 {
        let event = events.next().await.expect("events go on");
        destroyed += u32::from(event.action == "destroy");
    }
    let listed = world.engine().containers.list(ListOptions { all: true, ..ListOptions::default() }).await;
    assert!(listed.expect("a list").is_empty());
    world.engine().containers.prune(Filters::default()).await.expect("nothing to prune");
}
