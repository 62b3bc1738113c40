"""nginx, PostgreSQL and Redis from Debian's packages, each in an image made with `commit`, serving their real clients."""

from collections.abc import Iterator

import pytest

from support.engine import Engine, until
from support.images import SERVICES, archive

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def services() -> Iterator[Engine]:
    running = Engine().start()
    try:
        base = archive(*SERVICES)
        running.docker("load", "-i", str(base), timeout=180)
        yield running
    finally:
        running.destroy()


def committed(engine: Engine, name: str, script: str, *changes: str) -> str:
    """An image made by running a script in the Debian image and committing the result."""
    engine.docker("run", "--name", f"make-{name}", "debian:bookworm", "sh", "-c", script, timeout=120)
    options = [word for change in changes for word in ("-c", change)]
    engine.docker("commit", *options, f"make-{name}", f"{name}:1", timeout=120)
    engine.docker("rm", f"make-{name}")
    return f"{name}:1"


def test_nginx(services: Engine) -> None:
    image = committed(
        services, "nginx", "echo '<h1>deck</h1>' > /var/www/html/index.html", 'CMD ["nginx", "-g", "daemon off;"]', "EXPOSE 80"
    )
    services.docker("run", "-d", "--name", "web", "-p", "127.0.0.1:18080:80", image)
    page = until(lambda: services.run("curl", "-sf", "http://127.0.0.1:18080/").stdout)
    assert page == b"<h1>deck</h1>\n"
    assert services.docker("port", "web") == "80/tcp -> 127.0.0.1:18080\n"
    services.docker("stop", "web")
    assert services.inspect("web")["State"]["ExitCode"] == 0
    services.docker("rm", "web")
    assert services.run("curl", "-sf", "-m", "2", "http://127.0.0.1:18080/").returncode != 0


def test_postgresql_keeps_its_data_in_a_volume(services: Engine) -> None:
    script = "sed -i \"s/^#listen_addresses.*/listen_addresses = '*'/\" /etc/postgresql/15/main/postgresql.conf; echo 'host all all all trust' >> /etc/postgresql/15/main/pg_hba.conf; install -d -o postgres /run/postgresql"
    image = committed(
        services, "postgres", script, "USER postgres",
        'CMD ["/usr/lib/postgresql/15/bin/postgres", "-D", "/var/lib/postgresql/15/main", "-c", "config_file=/etc/postgresql/15/main/postgresql.conf"]',
    )  # fmt: skip

    def psql(statement: str) -> str:
        done = services.run("psql", "-h", "127.0.0.1", "-p", "15432", "-U", "postgres", "-Atc", statement)
        return done.stdout.decode().strip() if done.returncode == 0 else ""

    def serve(name: str) -> None:
        services.docker("run", "-d", "--name", name, "-p", "15432:5432", "-v", "pgdata:/var/lib/postgresql", image)
        until(lambda: psql("select 1"), 30, "PostgreSQL answers")

    serve("db1")
    assert psql("create table t (x int); insert into t values (42); select x from t").split("\n")[-1] == "42"
    services.docker("stop", "db1")
    services.docker("rm", "db1")
    serve("db2")
    assert psql("select x from t") == "42"
    services.docker("rm", "-f", "db2")
    services.docker("volume", "rm", "pgdata")


def test_redis_keeps_its_data_in_a_volume(services: Engine) -> None:
    image = committed(
        services, "redis", "true", 'CMD ["redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--dir", "/data"]'
    )

    def redis(*words: str) -> str:
        done = services.run("redis-cli", "-p", "16379", *words)
        return done.stdout.decode().strip() if done.returncode == 0 else ""

    for name, command, answer in (("r1", ("set", "k", "v"), "OK"), ("r2", ("get", "k"), "v")):
        services.docker("run", "-d", "--name", name, "-p", "16379:6379", "-v", "redis:/data", image)
        until(lambda: redis("ping") == "PONG", 20, "Redis answers")
        assert redis(*command) == answer
        redis("save")
        services.docker("rm", "-f", name)
    services.docker("volume", "rm", "redis")
