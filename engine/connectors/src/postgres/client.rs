//! A connection to a PostgreSQL server: connecting, making the table, copying rows. Owns which
//! errors are about rows and which about the server. Must not answer questions of clients.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::config::{Config, SslMode};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, NoTls};

use crate::bridge::dial::{client_config, client_config_of, host_roots};
use crate::bridge::settings::Common;
use crate::bridge::supervisor::SessionError;
use crate::postgres::jsonb;
use crate::postgres::rows::{Row, kind_word};
use crate::postgres::settings::Settings;
use crate::postgres::tls::Tls;
use crate::store::writer::{Store, Written};

/// How long a connection may take, before anything is said over it.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// How long it may take until rows can be copied, or questions be asked: TLS, who is there, and the
/// table, which may have to be made.
pub const BEGIN_TIME: Duration = Duration::from_secs(60);
/// Types of the columns, in the order of a row.
const TYPES: [Type; 7] =
    [Type::TIMESTAMPTZ, Type::TEXT, Type::INT8, Type::INT8, Type::TEXT, Type::BYTEA, Type::JSONB];

/// A connection that rows are copied over.
pub struct Writing {
    client: Client,
    copy: String,
    contains: String,
}

impl Writing {
    /// Connects, and makes the table where the settings say so.
    ///
    /// # Errors
    /// Why rows cannot be copied.
    pub async fn connect(
        common: &Common,
        settings: &Settings,
    ) -> Result<(Self, End), SessionError> {
        within(BEGIN_TIME, Self::begin(common, settings)).await
    }

    async fn begin(common: &Common, settings: &Settings) -> Result<(Self, End), SessionError> {
        let (client, end) = connect(common).await?;
        let table = &settings.table;
        if settings.create_table {
            client.batch_execute(&table.creation()).await.map_err(failure)?;
        }
        if settings.timescale {
            client.batch_execute(&table.partitioning()).await.map_err(failure)?;
        }
        let writing = Self { client, copy: table.copy(), contains: table.contains() };
        // A copy of nothing names a missing table or right before there is anything to lose.
        writing.copy(&[]).await.map_err(failure)?;
        Ok((writing, end))
    }

    /// All rows or none.
    async fn copy(&self, rows: &[Row]) -> Result<(), Error> {
        let sink = self.client.copy_in(&self.copy).await?;
        let mut writer = Box::pin(BinaryCopyInWriter::new(sink, &TYPES));
        for row in rows {
            let time = UNIX_EPOCH + Duration::from_nanos(row.time_ns);
            let (kind, json) = (kind_word(row.kind), jsonb::from_payload(&row.payload));
            let (topic, payload) = (row.topic.as_str(), row.payload.as_ref());
            let values: [&(dyn ToSql + Sync); 7] =
                [&time, &topic, &row.epoch, &row.seq, &kind, &payload, &json];
            writer.as_mut().write(&values).await?;
        }
        writer.as_mut().finish().await.map(drop)
    }
}

impl Store<Row> for Writing {
    async fn write(&mut self, rows: &[Row]) -> Result<Written, SessionError> {
        match self.copy(rows).await {
            Ok(()) => Ok(Written::Stored),
            Err(error) if is_about_rows(&error) => Ok(Written::Refused(reason(&error))),
            Err(error) => Err(failure(error)),
        }
    }

    async fn holds(&mut self, row: &Row) -> Result<bool, SessionError> {
        let parameters: [&(dyn ToSql + Sync); 3] = [&row.topic, &row.epoch, &row.seq];
        let found = self.client.query_one(&self.contains, &parameters).await;
        found.and_then(|found| found.try_get(0)).map_err(failure)
    }
}

/// The end of a connection: why it was lost.
pub struct End(JoinHandle<Option<String>>);

impl End {
    /// Waits for it. May be cancelled.
    pub async fn reached(&mut self) -> SessionError {
        let why = (&mut self.0).await.ok().flatten();
        SessionError::new("closed", why.unwrap_or_else(|| "the server closed it".to_owned()))
    }
}

/// A connection of the common settings.
///
/// # Errors
/// Why there is none.
pub async fn connect(common: &Common) -> Result<(Client, End), SessionError> {
    let config = config(common).map_err(|error| SessionError::new("settings", error))?;
    let ca_file = common.credentials.ca_file.as_deref();
    let tls = match config.get_ssl_mode() {
        SslMode::Disable => {
            let (client, connection) = config.connect(NoTls).await.map_err(failure)?;
            return Ok((client, carry(connection)));
        }
        // A server without TLS needs no authority. One with TLS is not trusted where there is none.
        SslMode::Prefer if ca_file.is_none() => client_config_of(host_roots()),
        _ => client_config(ca_file),
    };
    let tls = Arc::new(tls.map_err(|error| SessionError::new("credentials", error))?);
    let (client, connection) = config.connect(Tls(tls)).await.map_err(failure)?;
    Ok((client, carry(connection)))
}

/// What comes of `doing` within so much time.
///
/// # Errors
/// As it does, and when the time is over.
pub async fn within<T>(
    time: Duration,
    doing: impl Future<Output = Result<T, SessionError>>,
) -> Result<T, SessionError> {
    timeout(time, doing).await.unwrap_or_else(|_| {
        let message = format!("the server did not answer within {} s", time.as_secs());
        Err(SessionError::new("connect", message))
    })
}

/// Moves the bytes of a connection until its end.
fn carry(connection: impl Future<Output = Result<(), Error>> + 'static) -> End {
    let carried = async { connection.await.err().map(|error| reason_with_cause(&error)) };
    End(tokio::task::spawn_local(carried))
}

/// The address with user and password.
///
/// # Errors
/// What is wrong with the address, or that the password cannot be read.
pub fn config(common: &Common) -> Result<Config, String> {
    common.refuse_password_in_url()?;
    let url: Result<Config, Error> = common.url.parse();
    let mut config = url.map_err(|error| format!("url: {}", reason_with_cause(&error)))?;
    if config.get_password().is_some() {
        return Err("url: a password stands in `password_file`, not in it".to_owned());
    }
    if let Some(user) = &common.credentials.user {
        config.user(user);
    }
    if let Some(password) = common.credentials.password().map_err(|error| error.to_string())? {
        config.password(password);
    }
    if config.get_application_name().is_none() {
        config.application_name(format!("gridcast {}", common.name));
    }
    config.connect_timeout(CONNECT_TIME).keepalives_idle(Duration::from_secs(15));
    Ok(config)
}

/// Errors of these classes come from what a row holds: data exceptions, broken constraints, and
/// what is larger than an index or a row may be.
fn is_about_rows(error: &Error) -> bool {
    let class = error.code().and_then(|code| code.code().get(..2));
    matches!(class, Some("22" | "23" | "54"))
}

/// What the server said, without the row that it said it of.
fn reason(error: &Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |said| said.message().to_owned())
}

/// An error of the server or the connection.
pub fn failure(error: Error) -> SessionError {
    let class = error.code().map_or("", |code| code.code().get(..2).unwrap_or_default());
    let word = match class {
        "28" => "credentials",
        "3D" | "3F" | "42" => "refused",
        "" if error.is_closed() => "closed",
        "" => "connect",
        _ => "server",
    };
    SessionError::new(word, reason_with_cause(&error))
}

fn reason_with_cause(error: &Error) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    match error.as_db_error() {
        Some(said) => format!("{}: {}", said.code().code(), said.message()),
        None => format!("{error}{}", cause.unwrap_or_default()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a failed step ends its test
mod tests {
    use super::*;
    use crate::table::Reader;

    fn config_of(url: &str) -> Result<Config, String> {
        let text = format!("name = \"a\"\nkind = \"postgres\"\nurl = \"{url}\"");
        config(&Common::take(&mut Reader::new("bridge", 0, &text.parse().unwrap())).unwrap())
    }

    #[test]
    fn a_password_in_the_url_is_refused_and_not_repeated() {
        for url in [
            "postgres://me:secret@host/grid",
            "postgres://me@host/grid?password=secret",
            "host=a user=me password=secret",
        ] {
            let error = config_of(url).unwrap_err();
            assert!(error.contains("`password_file`") && !error.contains("secret"), "{error}");
        }
        assert_eq!(config_of("postgres://me@host/grid").unwrap().get_user(), Some("me"));
    }
}
