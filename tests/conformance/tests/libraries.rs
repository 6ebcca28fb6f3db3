//! Client libraries nobody here wrote: the Python package `docker`, and bollard.

use bollard::{
    API_DEFAULT_VERSION, Docker,
    container::LogOutput,
    errors::Error,
    exec::{StartExecOptions, StartExecResults},
    models::{ContainerCreateBody, ExecConfig, HostConfig, PortBinding, VolumeCreateRequest},
    query_parameters as query,
};
use futures_util::{StreamExt as _, TryStreamExt as _};
use rorqual_conformance::engine;
use rorqual_testkit::{places, run};
use std::{collections::BTreeSet, collections::HashMap, path::Path};
use tokio::io::AsyncWriteExt as _;

fn script() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("python/checks.py").display().to_string()
}

macro_rules! python {
    ($($name:ident)*) => {
        mod python {
            $(
                #[test]
                fn $name() {
                    let done = super::run(super::places::python(), [super::script(), super::engine().host.clone(), stringify!($name).to_owned()]);
                    assert!(done.code == 0, "{done}");
                }
            )*
        }

        #[test]
        fn every_python_check_is_run() {
            let listed = run(places::python(), [script(), engine().host.clone()]).ok();
            let listed: BTreeSet<&str> = listed.lines().collect();
            assert_eq!(listed, BTreeSet::from([$(stringify!($name)),*]));
        }
    };
}

python! {
    attach configuration events execs images life logs networks old_versions prune run_and_remove system volumes
}

fn bollard() -> Docker {
    Docker::connect_with_unix(&engine().host, 60, API_DEFAULT_VERSION).expect("connect")
}

fn words(line: &str) -> Option<Vec<String>> {
    Some(line.split(' ').map(str::to_owned).collect())
}

async fn create(docker: &Docker, name: &str, body: ContainerCreateBody) -> String {
    let force = query::RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    _ = docker.remove_container(name, Some(force)).await;
    let options = query::CreateContainerOptionsBuilder::new().name(name).build();
    docker.create_container(Some(options), body).await.expect("create").id
}

async fn remove(docker: &Docker, name: &str) {
    let force = query::RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    docker.remove_container(name, Some(force)).await.expect("remove");
}

async fn start(docker: &Docker, name: &str) {
    docker.start_container(name, None::<query::StartContainerOptions>).await.expect("start");
}

#[tokio::test]
async fn bollard_sees_output_code_and_state() {
    let docker = bollard();
    let body = ContainerCreateBody {
        image: Some("busybox".to_owned()),
        cmd: Some(vec!["sh".into(), "-c".into(), "echo out; echo err >&2; exit 3".into()]),
        ..Default::default()
    };
    let id = create(&docker, "bollard-run", body).await;
    assert_eq!(id.len(), 64);
    start(&docker, "bollard-run").await;
    let ended: Vec<_> = docker.wait_container("bollard-run", None::<query::WaitContainerOptions>).collect().await;
    match &ended[..] {
        [Err(Error::DockerContainerWaitError { code: 3, .. })] => {}
        other => panic!("{other:?}"),
    }
    let options = query::LogsOptionsBuilder::new().stdout(true).stderr(true).build();
    let lines: Vec<LogOutput> = docker.logs("bollard-run", Some(options)).try_collect().await.expect("logs");
    assert!(lines.iter().any(|line| matches!(line, LogOutput::StdOut { message } if &message[..] == b"out\n")));
    assert!(lines.iter().any(|line| matches!(line, LogOutput::StdErr { message } if &message[..] == b"err\n")));
    let state = docker.inspect_container("bollard-run", None::<query::InspectContainerOptions>).await.expect("inspect");
    let state = state.state.expect("a state");
    assert_eq!((state.exit_code, state.running, state.oom_killed), (Some(3), Some(false), Some(false)));
    remove(&docker, "bollard-run").await;
    match docker.inspect_container("bollard-run", None::<query::InspectContainerOptions>).await {
        Err(Error::DockerResponseServerError { status_code: 404, message }) => {
            assert_eq!(message, "No such container: bollard-run");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn bollard_types_into_an_attached_container() {
    let docker = bollard();
    let body = ContainerCreateBody {
        image: Some("busybox".to_owned()),
        cmd: words("cat"),
        open_stdin: Some(true),
        stdin_once: Some(true),
        attach_stdin: Some(true),
        ..Default::default()
    };
    create(&docker, "bollard-attach", body).await;
    let options = query::AttachContainerOptionsBuilder::new().stdin(true).stdout(true).stream(true).build();
    let mut attached = docker.attach_container("bollard-attach", Some(options)).await.expect("attach");
    start(&docker, "bollard-attach").await;
    attached.input.write_all(b"typed\n").await.expect("type");
    let first = attached.output.next().await.expect("output").expect("good output");
    assert_eq!(&first.into_bytes()[..], b"typed\n");
    attached.input.shutdown().await.expect("end of input");
    assert!(attached.output.next().await.is_none());
    let ended = docker.wait_container("bollard-attach", None::<query::WaitContainerOptions>).next().await;
    assert_eq!(ended.expect("an answer").expect("a good one").status_code, 0);
    remove(&docker, "bollard-attach").await;
}

#[tokio::test]
async fn bollard_runs_execs() {
    let docker = bollard();
    let body =
        ContainerCreateBody { image: Some("busybox".to_owned()), cmd: words("sleep 1000"), ..Default::default() };
    create(&docker, "bollard-exec", body).await;
    start(&docker, "bollard-exec").await;
    let config = ExecConfig {
        cmd: Some(vec!["sh".into(), "-c".into(), "echo $X; exit 6".into()]),
        env: Some(vec!["X=set".into()]),
        attach_stdout: Some(true),
        ..Default::default()
    };
    let exec = docker.create_exec("bollard-exec", config).await.expect("create").id;
    let options = Some(StartExecOptions { detach: false, ..Default::default() });
    let StartExecResults::Attached { output, .. } = docker.start_exec(&exec, options).await.expect("start") else {
        panic!("it is detached");
    };
    let lines: Vec<LogOutput> = output.try_collect().await.expect("output");
    assert_eq!(lines.iter().map(ToString::to_string).collect::<String>(), "set\n");
    assert_eq!(docker.inspect_exec(&exec).await.expect("inspect").exit_code, Some(6));
    remove(&docker, "bollard-exec").await;
}

#[tokio::test]
async fn bollard_lists_publishes_and_hears_events() {
    let docker = bollard();
    let ports = HashMap::from([(
        "80/tcp".to_owned(),
        Some(vec![PortBinding { host_ip: None, host_port: Some("8398".into()) }]),
    )]);
    let body = ContainerCreateBody {
        image: Some("busybox".to_owned()),
        cmd: words("sleep 1000"),
        exposed_ports: Some(vec!["80/tcp".to_owned()]),
        labels: Some(HashMap::from([("bollard".to_owned(), "list".to_owned())])),
        host_config: Some(HostConfig { port_bindings: Some(ports), memory: Some(64 << 20), ..Default::default() }),
        ..Default::default()
    };
    let filters = HashMap::from([("container".to_owned(), vec!["bollard-list".to_owned()])]);
    let options = query::EventsOptionsBuilder::new().filters(&filters).build();
    let listener = tokio::spawn(async move {
        let events = bollard();
        let stream = events.events(Some(options)).map(|event| event.expect("an event").action.unwrap_or_default());
        let mut seen = Vec::new();
        futures_util::pin_mut!(stream);
        while let Some(action) = stream.next().await {
            let last = action == "destroy";
            seen.push(action);
            if last {
                break;
            }
        }
        seen
    });
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let id = create(&docker, "bollard-list", body).await;
    start(&docker, "bollard-list").await;
    let filters = HashMap::from([("label".to_owned(), vec!["bollard=list".to_owned()])]);
    let options = query::ListContainersOptionsBuilder::new().filters(&filters).build();
    let listed = docker.list_containers(Some(options)).await.expect("list");
    let [container] = &listed[..] else { panic!("{listed:?}") };
    assert_eq!(container.id.as_deref(), Some(&*id));
    let published: BTreeSet<_> =
        container.ports.iter().flatten().map(|port| (port.private_port, port.public_port)).collect();
    assert_eq!(published, BTreeSet::from([(80, Some(8398))]));
    remove(&docker, "bollard-list").await;
    let seen =
        tokio::time::timeout(std::time::Duration::from_secs(10), listener).await.expect("in time").expect("seen");
    assert_eq!(seen, ["create", "start", "kill", "die", "destroy"]);
}

#[tokio::test]
async fn bollard_moves_images_and_volumes() {
    let docker = bollard();
    let options = query::TagImageOptionsBuilder::new().repo("bollard-image").tag("one").build();
    docker.tag_image("hello", Some(options)).await.expect("tag");
    let saved: Vec<_> = docker.export_image("bollard-image:one").try_collect().await.expect("save");
    let saved = saved.concat();
    docker.remove_image("bollard-image:one", None::<query::RemoveImageOptions>, None).await.expect("remove");
    let body = bollard::body_full(saved.into());
    let loaded: Vec<_> = docker
        .import_image(query::ImportImageOptionsBuilder::new().build(), body, None)
        .try_collect()
        .await
        .expect("load");
    let loaded: String = loaded.into_iter().filter_map(|line| line.stream).collect();
    assert_eq!(loaded, "Loaded image: bollard-image:one\n");
    let image = docker.inspect_image("bollard-image:one").await.expect("inspect");
    assert!(image.repo_tags.unwrap_or_default().contains(&"bollard-image:one".to_owned()));
    docker.remove_image("bollard-image:one", None::<query::RemoveImageOptions>, None).await.expect("remove");
    let request = VolumeCreateRequest { name: Some("bollard-volume".into()), ..Default::default() };
    let volume = docker.create_volume(request).await.expect("create");
    assert_eq!(volume.driver, "local");
    docker.remove_volume("bollard-volume", None::<query::RemoveVolumeOptions>).await.expect("remove");
    assert_eq!(docker.ping().await.expect("ping"), "OK");
}
