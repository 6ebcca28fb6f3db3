//! Templates as docker's documentation and its users' scripts write them.

use super::Template;
use crate::value::Value;

const DATA: &str = r#"{"Id":"sha256:abc","Name":"/web","Empty":"","Zero":0,"Count":3,"Rate":1.5,
 "State":{"Status":"running","Running":true,"Pid":42},
 "Config":{"Env":["A=1","B=2"],"Labels":{"z":"26","a":"1"},"Cmd":null},
 "NetworkSettings":{"Ports":{"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"}],"90/udp":null},
  "Networks":{"bridge":{"IPAddress":"172.17.0.2"}}},"None":[]}"#;

fn check(template: &str, want: &str) {
    let data = Value::parse(DATA.as_bytes()).unwrap();
    let got = Template::parse(template).and_then(|template| template.render(&data, None)).unwrap_or_else(|e| e);
    assert_eq!(got, want, "{template}");
}

#[test]
fn fields_and_pipes() {
    check("{{.Id}} {{.ID}}", "sha256:abc sha256:abc");
    check("{{.State.Status | upper}}", "RUNNING");
    check("{{json .State}}", r#"{"Status":"running","Running":true,"Pid":42}"#);
    check("{{.State.Health}}", "<nil>");
    check("{{.Config.Env}}|{{.Config.Labels}}|{{.Config.Cmd}}", "[A=1 B=2]|map[a:1 z:26]|<nil>");
    check("{{index .Config.Labels \"z\"}}{{index .Config.Env 1}}", "26B=2");
    check("{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}", "8080");
    check("{{join .Config.Env \", \"}}", "A=1, B=2");
    check(
        "{{printf \"%-6s|%5d|%05d|%q|%.2f\" .State.Status .Count .Count .Name .Rate}}",
        "running|    3|00003|\"/web\"|1.50",
    );
    check("{{slice .Name 1}} {{len .Config.Env}} {{truncate .Id 6}}", "web 2 sha256");
    check("{{title \"hello world\"}} {{lower \"ABC\"}} {{split \"a:b\" \":\"}}", "Hello World abc [a b]");
    check("{{println .Count}}{{print 1 2 \"x\" 3}}", "3\n1 2x3");
    check("{{pad .Name 1 2}}|", " /web  |");
}

#[test]
fn control() {
    check("{{if .State.Running}}up{{else}}down{{end}}", "up");
    check("{{if .Empty}}x{{else if .Zero}}y{{else}}z{{end}}", "z");
    check("{{if and .Count (eq .State.Status \"running\" \"paused\")}}yes{{end}}", "yes");
    check("{{if or .Empty (not .None)}}yes{{end}}", "yes");
    check("{{range .Config.Env}}<{{.}}>{{end}}", "<A=1><B=2>");
    check("{{range $k, $v := .Config.Labels}}{{$k}}={{$v}};{{end}}", "a=1;z=26;");
    check(
        "{{range $p, $conf := .NetworkSettings.Ports}}{{$p}} -> {{(index $conf 0).HostPort}}{{break}}{{end}}",
        "80/tcp -> 8080",
    );
    check("{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", "172.17.0.2");
    check("{{range .None}}x{{else}}none{{end}}", "none");
    check("{{with .State}}{{.Pid}}{{end}}{{with .Empty}}x{{else}}y{{end}}", "42y");
    check("{{$x := .Count}}{{if true}}{{$x = 9}}{{end}}{{$x}}", "9");
    check("{{with $s := .State}}{{$s.Pid}} {{$.Name}}{{end}}", "42 /web");
    check("a {{- /* note */ -}} b", "ab");
    check("a  {{- .Count -}}  b", "a3b");
    check("{{range $i, $e := .Config.Env}}{{if $i}},{{end}}{{$e}}{{end}}", "A=1,B=2");
}

#[test]
fn errors_read_as_gos() {
    check("{{.Foo}}", "template: :1:2: executing \"\" at <.Foo>: map has no entry for key \"Foo\"");
    check("{{.State.Foo}}", "template: :1:8: executing \"\" at <.State.Foo>: map has no entry for key \"Foo\"");
    check("{{foo}}", "template: :1: function \"foo\" not defined");
    check("{{.State", "template: :1: unclosed action");
    check("{{if .State}}x", "template: :1: unexpected EOF");
    check("{{end}}", "template: :1: unexpected {{end}}");
    check("{{}}", "template: :1: missing value for command");
    check("{{$x}}", "template: :1: undefined variable \"$x\"");
    check("{{.Name.Foo}}", "template: :1:7: executing \"\" at <.Name.Foo>: can't evaluate field Foo in type string");
}
