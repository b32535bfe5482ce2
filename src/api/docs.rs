//! The OpenAPI document, and a page of it that people can read without any script.

use std::fmt::Write as _;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::Value;
use utoipa::PartialSchema as _;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Required,
    Response as Described, ResponseBuilder, tag::TagBuilder,
};

use super::TENANT_PATH;
use super::error::Problem;
use super::guide::{self, escape};

const BEARER: &str = "bearer";

/// What stands before the calls.
pub fn head() -> OpenApi {
    let mut scheme = Http::new(HttpAuthScheme::Bearer);
    scheme.description = Some(
        "A walhook token (`whk_…`, from `walhook token create --tenant T`), or a JWT of the application where `[api.jwt]` is configured."
            .to_owned(),
    );
    let tag = |name: &str, text: &str| TagBuilder::new().name(name).description(Some(text)).build();
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("walhook")
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some(
                    "Signed webhooks from a PostgreSQL write-ahead log. Every call under \
                     `/api/v1/tenant/webhooks` sees the caller's tenant alone: what belongs to \
                     another answers 404. Errors are `application/problem+json` (RFC 9457).",
                ))
                .license(Some(
                    utoipa::openapi::LicenseBuilder::new()
                        .name("MIT")
                        .identifier(Some("MIT"))
                        .build(),
                ))
                .build(),
        )
        .tags(Some([
            tag(
                "Subscriptions",
                "Which events to send, where, signed with what.",
            ),
            tag(
                "Deliveries",
                "What became of each event for each subscription.",
            ),
            tag(
                "Jobs",
                "Bulk retries and replays, and how far they have come.",
            ),
            tag("Events", "What happened."),
            tag("Tokens", "The tenant's own tokens of this API."),
            tag("Tenant", "Who asks, and what holds for it."),
            tag("Operation", "Health and metrics of the process."),
        ]))
        .components(Some(
            ComponentsBuilder::new()
                .schema("Problem", Problem::schema())
                .security_scheme(BEARER, SecurityScheme::Http(scheme))
                .build(),
        ))
        .build()
}

/// Adds to every call of tenants what they have in common: the token, the key of POST,
/// and how each can be refused.
pub fn complete(mut document: OpenApi) -> OpenApi {
    for (path, item) in &mut document.paths.paths {
        let tenant = path.starts_with(TENANT_PATH);
        let with_id = path.contains("{id}");
        let operations = [
            (&mut item.get, false),
            (&mut item.post, true),
            (&mut item.patch, false),
            (&mut item.delete, false),
        ];
        for (operation, is_post) in operations {
            let Some(operation) = operation.as_mut().filter(|_| tenant) else {
                continue;
            };
            operation.security = Some(vec![SecurityRequirement::new::<_, [&str; 0], &str>(
                BEARER,
                [],
            )]);
            if is_post {
                add_idempotency_key(operation);
            }
            refusals(operation, with_id, is_post);
        }
    }
    document
}

fn add_idempotency_key(operation: &mut Operation) {
    let key: Parameter = ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "Repeat a call with the same key, within 24 hours, and it is carried out once and answered alike.",
        ))
        .schema(Some(Schema::Object(
            ObjectBuilder::new()
                .schema_type(Type::String)
                .min_length(Some(1))
                .max_length(Some(255))
                .build(),
        )))
        .build();
    operation
        .parameters
        .get_or_insert_default()
        .push(key.into());
}

fn refusals(operation: &mut Operation, with_id: bool, is_post: bool) {
    let has_body = operation.request_body.is_some();
    let cases = [
        ("400", "What was asked cannot be, as it is written", true),
        ("401", "No token, or one that is not admitted", true),
        ("404", "There is none, or it is another tenant's", with_id),
        (
            "409",
            "Not in this state, or not while another call is in progress",
            is_post,
        ),
        ("413", "The body is too large", has_body),
        ("415", "The body is not JSON by its Content-Type", has_body),
        (
            "422",
            "The JSON does not fit, or the Idempotency-Key came with another request",
            has_body || is_post,
        ),
        (
            "429",
            "Beyond one of the tenant's limits, which the detail names; Retry-After says when to come again",
            true,
        ),
        ("503", "The store does not answer, or not in time", true),
        ("default", "Another error", true),
    ];
    for (status, text, applies) in cases {
        let responses = &mut operation.responses.responses;
        if applies && !responses.contains_key(status) {
            responses.insert(status.to_owned(), RefOr::T(problem(text)));
        }
    }
}

fn problem(text: &str) -> Described {
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .build();
    ResponseBuilder::new()
        .description(text)
        .content("application/problem+json", content)
        .build()
}

/// The document as an answer.
pub fn json(document: Bytes) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], document).into_response()
}

/// Renders the document: one section a tag, one table a call, then the schemas.
pub fn page(document: &OpenApi) -> String {
    let document = serde_json::to_value(document).unwrap_or_default();
    let mut page = String::new();
    let _ = write!(
        page,
        "<h1>walhook API</h1><p>{}</p>\
         <p>For programs: <a href=\"/openapi.json\">/openapi.json</a></p>\
         <pre>curl -H 'Authorization: Bearer whk_…' …{TENANT_PATH}/subscriptions</pre>",
        prose(&document["info"]["description"])
    );
    for tag in list(&document["tags"]) {
        let _ = write!(
            page,
            "<h2>{}</h2><p>{}</p>",
            prose(&tag["name"]),
            prose(&tag["description"])
        );
        for (path, item) in entries(&document["paths"]) {
            for (method, operation) in entries(item) {
                if list(&operation["tags"]).first() == Some(&tag["name"]) {
                    call(&mut page, path, method, operation);
                }
            }
        }
    }
    page.push_str("<h2>Schemas</h2>");
    for (name, schema) in entries(&document["components"]["schemas"]) {
        let _ = write!(
            page,
            "<h3 id=\"{0}\">{0}</h3><p>{1}</p>",
            escape(name),
            prose(&schema["description"])
        );
        fields(&mut page, schema);
    }
    guide::page("API", &page)
}

fn call(page: &mut String, path: &str, method: &str, operation: &Value) {
    let _ = write!(
        page,
        "<h3><span class=\"m\">{}</span> <code>{}</code></h3><p>{}. {}</p><table>",
        method.to_uppercase(),
        escape(path),
        prose(&operation["summary"]).trim_end_matches('.'),
        prose(&operation["description"])
    );
    for parameter in list(&operation["parameters"]) {
        let _ = write!(
            page,
            "<tr><td><code>{}</code></td><td>{}</td><td>{}</td></tr>",
            prose(&parameter["name"]),
            prose(&parameter["in"]),
            prose(&parameter["description"])
        );
    }
    let bodies = &operation["requestBody"]["content"]["application/json"]["schema"];
    if !bodies.is_null() {
        let _ = write!(
            page,
            "<tr><td>body</td><td></td><td>{}</td></tr>",
            kind(bodies)
        );
    }
    for (status, answer) in entries(&operation["responses"]) {
        let schema = entries(&answer["content"])
            .next()
            .map(|(_, content)| kind(&content["schema"]));
        let _ = write!(
            page,
            "<tr><td><code>{}</code></td><td>{}</td><td>{}</td></tr>",
            escape(status),
            schema.unwrap_or_default(),
            prose(&answer["description"])
        );
    }
    page.push_str("</table>");
}

fn fields(page: &mut String, schema: &Value) {
    page.push_str("<table>");
    let parts = std::iter::once(schema).chain(list(&schema["allOf"]));
    for part in parts {
        if part["$ref"].is_string() {
            let _ = write!(
                page,
                "<tr><td colspan=\"3\">all of {}</td></tr>",
                kind(part)
            );
        }
        for (name, field) in entries(&part["properties"]) {
            let _ = write!(
                page,
                "<tr><td><code>{}</code></td><td>{}</td><td>{}</td></tr>",
                escape(name),
                kind(field),
                prose(&field["description"])
            );
        }
    }
    page.push_str("</table>");
}

/// A schema in a word or two, linked where it has a name.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"]
        .as_str()
        .and_then(|path| path.rsplit('/').next())
    {
        return format!("<a href=\"#{0}\">{0}</a>", escape(name));
    }
    if schema["items"].is_object() {
        return format!("array of {}", kind(&schema["items"]));
    }
    let one_of = list(&schema["oneOf"]);
    if !one_of.is_empty() {
        return one_of.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    match &schema["type"] {
        Value::Array(types) => types.iter().map(prose).collect::<Vec<_>>().join(" or "),
        one => prose(one),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// Escaped text with `code` between its backticks.
fn prose(value: &Value) -> String {
    let text = escape(value.as_str().unwrap_or_default());
    let parts = text.split('`').enumerate();
    let marked = parts.map(|(number, part)| match number % 2 {
        0 => part.to_owned(),
        _ => format!("<code>{part}</code>"),
    });
    marked.collect()
}
