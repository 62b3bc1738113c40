"""The subset of Go's templates."""

from typing import Any

import pytest

from orlop.cli.render import Header, Row, View
from orlop.cli.session import Failure
from orlop.cli.templates import Template, render_rows

VALUE: dict[str, Any] = {
    "Id": "abc",
    "Name": "web",
    "State": {"Running": True, "Pid": 7},
    "Config": {"Env": ["A=1", "B=2"], "Labels": {"b": "2", "a": "1"}, "Cmd": None, "ExposedPorts": {"80/tcp": {}}},
    "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "9/udp": None},
    "Mounts": [{"Source": "/a"}, {"Source": "/b"}],
    "Size": 1.5,
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("{{.Name}}", "web"),
        ("{{.ID}} {{.Id}}", "abc abc"),
        ("{{.State.Running}} {{.State.Pid}} {{.Size}}", "true 7 1.5"),
        ("{{.Config.Env}}", "[A=1 B=2]"),
        ("{{.Config.Labels}}", "map[a:1 b:2]"),
        ("{{.Config.Cmd}}|{{json .Config.Cmd}}", "[]|null"),
        ("{{.Config.ExposedPorts}}", "map[80/tcp:{}]"),
        ("{{.Config.User}}", ""),
        ("{{.State.Health}}", "<nil>"),
        ("{{json .Config}}", '{"Env":["A=1","B=2"],"Labels":{"b":"2","a":"1"},"Cmd":null,"ExposedPorts":{"80/tcp":{}}}'),
        ('{{join .Config.Env ";"}}', "A=1;B=2"),
        ('{{index .Config.Labels "a"}}{{index .Config.Labels "z"}}', "1"),
        ("{{index .Config.Env 1}}", "B=2"),
        ('{{(index (index .Ports "80/tcp") 0).HostPort}}', "8080"),
        ("{{range .Mounts}}<{{.Source}}>{{end}}", "</a></b>"),
        ("{{range $i, $m := .Mounts}}{{$i}}={{$m.Source}} {{end}}", "0=/a 1=/b "),
        ("{{range $p, $c := .Ports}}{{$p}}{{if $c}}->{{(index $c 0).HostPort}}{{end}};{{end}}", "80/tcp->8080;9/udp;"),
        ("{{range .Config.Cmd}}x{{else}}none{{end}}", "none"),
        ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
        ("{{if and .State.Running (eq .Name `web`)}}yes{{end}}", "yes"),
        ("{{if not .State.Running}}a{{else if gt .State.Pid 5}}b{{else}}c{{end}}", "b"),
        ("{{with .State}}{{.Pid}}{{end}}{{with .Config.Cmd}}x{{else}}y{{end}}", "7y"),
        ("{{$x := .Name}}{{$x}}{{with .State}}{{$.Name}}{{end}}", "webweb"),
        ("{{.Name | upper | printf `%5s|`}}", "  WEB|"),
        ('{{printf "%q %v %d %%" .Name true 3}}', '"web" true 3 %'),
        ("{{len .Config.Env}} {{len .Name}}", "2 3"),
        ("a  {{- .Name -}}  b", "awebb"),
        ("{{/* a comment */}}x", "x"),
        ("{{println .Name}}", "web\n"),
        ('{{pad .Name 1 2}}|{{pad "" 1 2}}|', " web  ||"),
        ('{{truncate .Name 2}} {{title .Name}} {{lower "AB"}}', "we Web ab"),
        ('{{range split "a,b" ","}}[{{.}}]{{end}}', "[a][b]"),
        ('{{"}}"}}{{`a"b`}}', '}}a"b'),
        ("{{eq 1 2 1}} {{ne 1 2}} {{or false 3}}", "true true 3"),
        ("{{slice .Name 1 3}}", "eb"),
    ],
)
def test_rendering(text: str, expected: str) -> None:
    assert Template(text).render(VALUE) == expected


@pytest.mark.parametrize(
    "text", ["{{.Name", "{{end}}", "{{if .Name}}x", "{{nosuch .Name}}", "{{.Name | }}", "{{(.Name}}", '{{"open}}', "{{.Name)}}"]
)
def test_what_is_no_template(text: str) -> None:
    with pytest.raises(Failure, match="template parsing error: template") as caught:
        Template(text)
    assert caught.value.code == 64


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{.Nosuch}}", 'map has no entry for key "Nosuch"'),
        ("{{.State.Health.Status}}", "nil pointer evaluating"),
        ("{{.Name.X}}", "can't evaluate field X in type string"),
        ("{{index .Config.Env 9}}", "index out of range: 9"),
        ("{{len 3}}", "error calling len"),
        ("{{range .Name}}x{{end}}", "range can't iterate over web"),
        ("{{$nope}}", "undefined variable"),
    ],
)
def test_what_is_not_there(text: str, message: str) -> None:
    with pytest.raises(Failure) as caught:
        Template(text).render(VALUE)
    assert message in str(caught.value)


FIELDS = {
    "ID": ("CONTAINER ID", lambda document, full: document["Id"] if full else document["Id"][:2]),
    "Name": ("NAME", lambda document, _: document["Name"]),
    "Label": ("", lambda document, _: lambda name: document["Config"]["Labels"].get(name, "")),
}


def rows(format: str) -> str:
    view = View(FIELDS, ("ID", "Name"))
    return render_rows(format, Header(view), [Row(view, VALUE, False), Row(view, {**VALUE, "Name": "a-longer-name"}, False)])


def test_rows_by_template() -> None:
    assert rows("{{.ID}} {{.Name}}") == "ab web\nab a-longer-name\n"
    assert rows("{{json .}}") == '{"ID":"ab","Name":"web"}\n{"ID":"ab","Name":"a-longer-name"}\n'


def test_a_table_by_template_has_headers_and_columns() -> None:
    assert rows('table {{.Name}}\\t{{.Label "a"}}\\t{{upper .ID}}') == (
        "NAME            a         CONTAINER ID\nweb             1         AB\na-longer-name   1         AB\n"
    )


def test_a_field_that_a_row_has_not() -> None:
    with pytest.raises(Failure, match="can't evaluate field Nosuch"):
        rows("{{.Nosuch}}")
