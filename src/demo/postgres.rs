//! A throwaway PostgreSQL from the binaries on the machine, for the demo, the
//! tests and the benches.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// A running server with a data directory of its own. Dropping it stops the
/// server and removes everything that it wrote.
pub struct Postgres {
    binaries: PathBuf,
    directory: PathBuf,
    port: u16,
    account: Option<Account>,
}

#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    #[error(
        "no PostgreSQL server found (looked in PATH, pg_config --bindir, /usr/lib/postgresql, \
         Homebrew). Install one: `apt-get install -y postgresql` on Debian and Ubuntu, \
         `dnf install -y postgresql-server` on Fedora, `brew install postgresql@17` on macOS"
    )]
    NotInstalled,
    #[error(
        "PostgreSQL refuses to run as root and there is no user to drop to: \
         create one with `useradd --system postgres`"
    )]
    NoAccount,
    #[error("`{program}` failed: {output}")]
    Failed { program: String, output: String },
    #[error("the embedded PostgreSQL did not answer within {seconds} s; its log says: {log}")]
    NotReady { seconds: u64, log: String },
    #[error("embedded PostgreSQL: {0}")]
    Io(#[from] io::Error),
}

/// The unprivileged user that the server runs as when we are root.
#[derive(Clone, Copy)]
struct Account {
    uid: u32,
    gid: u32,
}

/// What the server is started with, over PostgreSQL's defaults.
pub type Settings<'a> = &'a [(&'a str, &'a str)];

/// How long a start may take: initdb on a slow, busy disk takes seconds.
const START_TIMEOUT: Duration = Duration::from_secs(60);

impl Postgres {
    /// Starts the newest server found on the machine.
    pub fn start(settings: Settings<'_>) -> Result<Self, PostgresError> {
        let binaries = find_binaries().ok_or(PostgresError::NotInstalled)?;
        Self::start_from(&binaries, settings)
    }

    /// Starts the server whose `initdb`, `postgres` and `pg_ctl` stand in `binaries`.
    pub fn start_from(binaries: &Path, settings: Settings<'_>) -> Result<Self, PostgresError> {
        let account = account()?;
        let directory = create_directory(account)?;
        let server = Postgres {
            binaries: binaries.to_owned(),
            port: free_port()?,
            directory,
            account,
        };
        server.command("initdb", |initdb| {
            initdb
                .arg("--pgdata")
                .arg(server.data_directory())
                .args(["--username=postgres", "--auth=trust", "--encoding=UTF8"])
                .args(["--locale=C", "--no-sync", "--no-instructions"]);
        })?;
        server.configure(settings)?;
        server.boot()?;
        Ok(server)
    }

    /// A server on a copy of this one's data, which is stopped for as long as copying
    /// takes. It is not booted: a standby is told first whom it follows.
    pub fn copy(&self, settings: Settings<'_>) -> Result<Self, PostgresError> {
        self.stop()?;
        let copy = Postgres {
            binaries: self.binaries.clone(),
            port: free_port()?,
            directory: create_directory(self.account)?,
            account: self.account,
        };
        let (from, to) = (self.data_directory(), copy.data_directory());
        let copied = run(Command::new("cp").arg("-a").args([from, to]), "cp");
        self.boot()?;
        copied?;
        copy.configure(settings)?;
        Ok(copy)
    }

    /// `postgres://` URL of a database of this server.
    pub fn url(&self, database: &str) -> String {
        format!(
            "postgres://postgres@127.0.0.1:{}/{database}?sslmode=disable",
            self.port
        )
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where the server keeps its Unix socket.
    pub fn socket_directory(&self) -> &Path {
        &self.directory
    }

    pub fn data_directory(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// What the server has written of itself.
    pub fn log_file(&self) -> PathBuf {
        self.directory.join("server.log")
    }

    pub fn binaries(&self) -> &Path {
        &self.binaries
    }

    /// The postmaster's process id.
    pub fn pid(&self) -> io::Result<u32> {
        let text = fs::read_to_string(self.data_directory().join("postmaster.pid"))?;
        let line = text.lines().next().unwrap_or_default();
        line.parse()
            .map_err(|_| io::Error::other("postmaster.pid holds no process id"))
    }

    /// Kills every process of the server at once, as a power cut would.
    pub fn crash(&self) -> Result<(), PostgresError> {
        let pid = self.pid()?.to_string();
        // The postmaster's children are its process group's.
        run(
            Command::new("kill").args(["-9", "--", &format!("-{pid}")]),
            "kill",
        )
        .or_else(|_| run(Command::new("kill").args(["-9", &pid]), "kill"))?;
        Ok(())
    }

    /// Stops the server in order.
    pub fn stop(&self) -> Result<(), PostgresError> {
        self.command("pg_ctl", |pg_ctl| {
            pg_ctl
                .args(["stop", "--mode=fast", "--wait", "--silent", "--pgdata"])
                .arg(self.data_directory());
        })
    }

    /// Starts the server again on the same data and port, after `stop` or `crash`.
    pub fn boot(&self) -> Result<(), PostgresError> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            // After a crash, backends may hold shared memory for a moment longer.
            let started = self.command("pg_ctl", |pg_ctl| {
                pg_ctl
                    .args(["start", "--wait", "--silent", "--timeout=60", "--log"])
                    .arg(self.log_file())
                    .arg("--pgdata")
                    .arg(self.data_directory());
            });
            match started {
                Ok(()) => return Ok(()),
                Err(_) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(200));
                }
                Err(_) => {
                    let log = fs::read_to_string(self.log_file());
                    return Err(PostgresError::NotReady {
                        seconds: START_TIMEOUT.as_secs(),
                        log: log.unwrap_or_default(),
                    });
                }
            }
        }
    }

    fn configure(&self, settings: Settings<'_>) -> io::Result<()> {
        let socket = self.socket_directory().display().to_string();
        let port = self.port.to_string();
        let ours = [
            ("port", port.as_str()),
            ("listen_addresses", "127.0.0.1"),
            ("unix_socket_directories", &socket),
            ("wal_level", "logical"),
        ];
        let file = self.data_directory().join("postgresql.conf");
        let mut text = fs::read_to_string(&file)?;
        for (name, value) in ours.iter().chain(settings) {
            text.push_str(&format!("{name} = '{}'\n", value.replace('\'', "''")));
        }
        fs::write(&file, text)
    }

    fn command(
        &self,
        program: &str,
        arguments: impl FnOnce(&mut Command),
    ) -> Result<(), PostgresError> {
        let mut command = Command::new(self.binaries.join(program));
        arguments(&mut command);
        command.current_dir(&self.directory);
        if let Some(Account { uid, gid }) = self.account {
            command.uid(uid).gid(gid);
        }
        // Ctrl-C in the terminal must reach us and not the server: we stop it in order.
        command.process_group(0);
        run(&mut command, program)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::debug!(%error, "embedded PostgreSQL was not running when it was stopped");
        }
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            tracing::warn!(directory = %self.directory.display(), %error, "cannot remove the embedded PostgreSQL");
        }
    }
}

/// The newest server's binaries: PATH, `pg_config`, then where Debian, Red Hat,
/// Homebrew and Postgres.app put them.
pub fn find_binaries() -> Option<PathBuf> {
    let in_path = std::env::var_os("PATH").unwrap_or_default();
    let from_config = Command::new("pg_config").arg("--bindir").output().ok();
    let from_config = from_config
        .filter(|output| output.status.success())
        .map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    let usual = [
        ("/usr/lib/postgresql", "bin"),
        ("/opt/homebrew/opt", "bin"),
        ("/usr/local/opt", "bin"),
        ("/Applications/Postgres.app/Contents/Versions", "bin"),
    ];
    std::env::split_paths(&in_path)
        .chain(from_config)
        .chain(usual.iter().flat_map(|(parent, bin)| versions(parent, bin)))
        .chain([
            PathBuf::from("/usr/pgsql/bin"),
            PathBuf::from("/usr/libexec/postgresql"),
        ])
        .find(|directory| {
            ["initdb", "postgres", "pg_ctl"]
                .iter()
                .all(|program| directory.join(program).is_file())
        })
}

/// Directories of `parent` that hold a server, the newest version first.
fn versions(parent: &str, bin: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let version = name.trim_start_matches("postgresql@");
            let major = version.split('.').next()?.parse().ok()?;
            Some((major, entry.path().join(bin)))
        })
        .collect();
    found.sort_by_key(|(major, _)| std::cmp::Reverse(*major));
    found.into_iter().map(|(_, path)| path).collect()
}

/// `None` when we are an ordinary user; else the user that the server drops to.
fn account() -> Result<Option<Account>, PostgresError> {
    // A file that we create is ours: asks who we are without unsafe code.
    if fs::metadata("/proc/self").map(|own| own.uid()).unwrap_or(1) != 0 {
        return Ok(None);
    }
    let passwd = fs::read_to_string("/etc/passwd")?;
    let find = |name: &str| {
        passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next()? == name).then_some(())?;
            let uid = fields.nth(1)?.parse().ok()?;
            let gid = fields.next()?.parse().ok()?;
            Some(Account { uid, gid })
        })
    };
    find("postgres")
        .or_else(|| find("nobody"))
        .map(Some)
        .ok_or(PostgresError::NoAccount)
}

fn create_directory(account: Option<Account>) -> io::Result<PathBuf> {
    let name = format!("walhook-pg-{}", uuid::Uuid::now_v7().simple());
    // The socket's path may hold 107 bytes: a long TMPDIR does not fit.
    let temporary = std::env::temp_dir();
    let parent = if temporary.as_os_str().len() > 50 {
        PathBuf::from("/tmp")
    } else {
        temporary
    };
    let directory = parent.join(name);
    fs::create_dir(&directory)?;
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700))?;
    if let Some(Account { uid, gid }) = account {
        std::os::unix::fs::chown(&directory, Some(uid), Some(gid))?;
    }
    Ok(directory)
}

fn free_port() -> io::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?
        .local_addr()?
        .port())
}

fn run(command: &mut Command, program: &str) -> Result<(), PostgresError> {
    // The server inherits its starter's output: give it none, or a pipe to us
    // would stay open for as long as the server runs.
    let log = tempfile_of_output(program)?;
    let Output { status, .. } = command
        .stdin(std::process::Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log.try_clone()?)
        .spawn()?
        .wait_with_output()?;
    if status.success() {
        return Ok(());
    }
    Err(PostgresError::Failed {
        program: program.to_owned(),
        output: read_back(log)?,
    })
}

/// An unlinked file that takes a command's output.
fn tempfile_of_output(program: &str) -> io::Result<fs::File> {
    let mut name = OsString::from("walhook-output-");
    name.push(program);
    name.push(uuid::Uuid::now_v7().simple().to_string());
    let path = std::env::temp_dir().join(name);
    let file = fs::File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

fn read_back(mut file: fs::File) -> io::Result<String> {
    use std::io::{Read, Seek};
    file.rewind()?;
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).trim().to_owned())
}
