//! Proves who we are: trust, password, md5, and SCRAM-SHA-256 with channel
//! binding where TLS gives one (PostgreSQL manual, "SASL Authentication").

use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{self, ChannelBinding, ScramSha256};
use postgres_protocol::message::backend::{AuthenticationSaslBody, Message};
use postgres_protocol::message::frontend;
use secrecy::ExposeSecret;
use tokio_postgres::config::ChannelBinding as Wanted;

use super::connection::Connection;
use super::error::ReplicationError;
use crate::conninfo::ConnInfo;

/// Answers the server until it is content, after the startup message was sent.
pub(super) fn authenticate(
    connection: &mut Connection,
    conninfo: &ConnInfo,
) -> Result<(), ReplicationError> {
    let mut bound = false;
    loop {
        match connection.receive_message()? {
            Message::AuthenticationOk if bound || conninfo.channel_binding != Wanted::Require => {
                return Ok(());
            }
            Message::AuthenticationCleartextPassword => {
                forbid_unbound(conninfo)?;
                let password = password(conninfo)?;
                connection.send_with(|out| frontend::password_message(password, out))?;
            }
            Message::AuthenticationMd5Password(body) => {
                forbid_unbound(conninfo)?;
                let user = conninfo.user().as_bytes();
                let hash = md5_hash(user, password(conninfo)?, body.salt());
                connection.send_with(|out| frontend::password_message(hash.as_bytes(), out))?;
            }
            Message::AuthenticationSasl(body) => bound = scram(connection, conninfo, &body)?,
            Message::AuthenticationOk => {
                return Err(refused(
                    conninfo,
                    "the server asked for no proof that channel_binding=require could bind",
                ));
            }
            _ => {
                return Err(refused(
                    conninfo,
                    "the server asks for a method that walhook does not know (it knows trust, password, md5 and scram-sha-256): change the line in pg_hba.conf",
                ));
            }
        }
    }
}

/// The exchange of SCRAM; says whether it was bound to the TLS connection.
fn scram(
    connection: &mut Connection,
    conninfo: &ConnInfo,
    offer: &AuthenticationSaslBody,
) -> Result<bool, ReplicationError> {
    let (mut plain, mut plus) = (false, false);
    let mut mechanisms = offer.mechanisms();
    while let Some(mechanism) = mechanisms.next().map_err(malformed)? {
        plain |= mechanism == sasl::SCRAM_SHA_256;
        plus |= mechanism == sasl::SCRAM_SHA_256_PLUS;
    }
    let end_point = connection
        .server_end_point()
        .filter(|_| conninfo.channel_binding != Wanted::Disable);
    let (mechanism, binding, bound) = match end_point {
        Some(hash) if plus => (
            sasl::SCRAM_SHA_256_PLUS,
            ChannelBinding::tls_server_end_point(hash),
            true,
        ),
        // "We could, you did not offer": a man in the middle who struck the offer
        // out is found by this (RFC 5802 §6).
        Some(_) if plain => (sasl::SCRAM_SHA_256, ChannelBinding::unrequested(), false),
        None if plain => (sasl::SCRAM_SHA_256, ChannelBinding::unsupported(), false),
        _ => return Err(refused(conninfo, "the server offers no SCRAM-SHA-256")),
    };
    if !bound {
        forbid_unbound(conninfo)?;
    }
    let mut scram = ScramSha256::new(password(conninfo)?, binding);
    connection.send_with(|out| frontend::sasl_initial_response(mechanism, scram.message(), out))?;
    let Message::AuthenticationSaslContinue(challenge) = connection.receive_message()? else {
        return Err(out_of_turn());
    };
    scram.update(challenge.data()).map_err(malformed)?;
    connection.send_with(|out| frontend::sasl_response(scram.message(), out))?;
    // Nothing but the server's own proof ends the exchange: one who does not know
    // the password cannot skip it.
    let Message::AuthenticationSaslFinal(verifier) = connection.receive_message()? else {
        return Err(out_of_turn());
    };
    scram.finish(verifier.data()).map_err(|_| {
        refused(
            conninfo,
            "the server could not prove that it knows the password: it may be an impostor",
        )
    })?;
    Ok(bound)
}

fn password(conninfo: &ConnInfo) -> Result<&[u8], ReplicationError> {
    conninfo
        .password()
        .map(|password| password.expose_secret().as_bytes())
        .ok_or_else(|| {
            refused(
                conninfo,
                "the server asks for a password and there is none: give one in the URL, PGPASSWORD or ~/.pgpass",
            )
        })
}

fn forbid_unbound(conninfo: &ConnInfo) -> Result<(), ReplicationError> {
    if conninfo.channel_binding == Wanted::Require {
        return Err(refused(
            conninfo,
            "channel_binding=require needs TLS, SCRAM-SHA-256-PLUS and a certificate that is signed with RSA or ECDSA",
        ));
    }
    Ok(())
}

fn refused(conninfo: &ConnInfo, message: &str) -> ReplicationError {
    ReplicationError::Auth {
        user: conninfo.describe(),
        message: message.to_owned(),
    }
}

fn out_of_turn() -> ReplicationError {
    ReplicationError::Protocol("the server broke off its part of SCRAM".to_owned())
}

fn malformed(error: std::io::Error) -> ReplicationError {
    ReplicationError::Protocol(format!("the server's part of SCRAM is malformed: {error}"))
}
