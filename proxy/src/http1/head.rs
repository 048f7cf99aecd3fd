//! Heads of responses, and what they say about the body.

use std::fmt::Display;

use bytes::{Buf, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{Method, StatusCode};

use super::HttpError;
use super::framing::Framing;

/// Header lines of a response; more is refused.
const MAX_HEADERS: usize = 128;

/// The first lines of a response, and what they say about the rest.
#[derive(Debug)]
pub(crate) struct AnswerHead {
    pub(crate) status: StatusCode,
    /// Only where it is not the usual one.
    pub(crate) reason: Option<hyper::ext::ReasonPhrase>,
    pub(crate) headers: HeaderMap,
    pub(crate) framing: Framing,
    /// The connection may carry another request once the body is read.
    pub(crate) reusable: bool,
}

impl AnswerHead {
    /// Takes a final response's head off `buffer`, and interim ones (1xx) before it. `None`: not there whole.
    pub(crate) fn take(buffer: &mut BytesMut, method: &Method) -> Result<Option<Self>, HttpError> {
        while let Some((head, used)) = Self::parse(buffer, method)? {
            buffer.advance(used);
            if !head.status.is_informational() {
                return Ok(Some(head));
            }
        }
        Ok(None)
    }

    /// The head at the beginning of `bytes`, interim or not, and its length.
    pub(super) fn parse(bytes: &[u8], method: &Method) -> Result<Option<(Self, usize)>, HttpError> {
        let mut slots = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut parsed = httparse::Response::new(&mut slots);
        let used = match parsed.parse(bytes) {
            Ok(httparse::Status::Complete(used)) => used,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(error) => return Err(protocol(error)),
        };
        let head = Self::read(&parsed, method)?;
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(protocol("it switched protocols unasked"));
        }
        Ok(Some((head, used)))
    }

    fn read(parsed: &httparse::Response<'_, '_>, method: &Method) -> Result<Self, HttpError> {
        let status = StatusCode::from_u16(parsed.code.unwrap_or(0)).map_err(protocol)?;
        let mut headers = HeaderMap::with_capacity(parsed.headers.len());
        for header in parsed.headers.iter() {
            let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(protocol)?;
            headers.append(name, HeaderValue::from_bytes(header.value).map_err(protocol)?);
        }
        let reason = parsed.reason.filter(|&reason| Some(reason) != status.canonical_reason());
        let framing = framing(status, method, &headers)?;
        let reusable = parsed.version == Some(1)
            && framing != Framing::UntilClose
            && !(headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH))
            && !tokens(&headers, &CONNECTION).any(|token| token.eq_ignore_ascii_case("close"));
        Ok(AnswerHead {
            status,
            reason: reason.and_then(|reason| hyper::ext::ReasonPhrase::try_from(reason.as_bytes()).ok()),
            headers,
            framing,
            reusable,
        })
    }
}

fn framing(status: StatusCode, method: &Method, headers: &HeaderMap) -> Result<Framing, HttpError> {
    let bodiless = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if bodiless || status.is_informational() || method == Method::HEAD {
        return Ok(Framing::Length(0));
    }
    if headers.contains_key(TRANSFER_ENCODING) {
        let mut codings = tokens(headers, &TRANSFER_ENCODING);
        return match (codings.next(), codings.next()) {
            (Some(only), None) if only.eq_ignore_ascii_case("chunked") => Ok(Framing::chunked()),
            _ => Err(protocol("its transfer-encoding is not `chunked`")),
        };
    }
    let mut lengths = tokens(headers, &CONTENT_LENGTH);
    let Some(length) = lengths.next() else {
        return Ok(Framing::UntilClose);
    };
    if lengths.any(|other| other != length) || !length.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(protocol("its content-length makes no sense"));
    }
    length.parse().map(Framing::Length).map_err(protocol)
}

/// The comma-separated words of every header of that name.
pub(crate) fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|token| !token.is_empty())
}

fn protocol<W: Display>(why: W) -> HttpError {
    HttpError::Head(why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn take(text: &str) -> Result<Option<AnswerHead>, HttpError> {
        AnswerHead::take(&mut BytesMut::from(text), &Method::POST)
    }

    fn head(lines: &str) -> AnswerHead {
        take(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n")).unwrap().unwrap()
    }

    #[test]
    fn the_body_s_end_is_read_from_the_head() {
        assert_eq!(head("content-length: 12\r\n").framing, Framing::Length(12));
        assert_eq!(head("Transfer-Encoding: Chunked\r\n").framing, Framing::chunked());
        assert_eq!(head("content-type: x\r\n").framing, Framing::UntilClose);
        let none = take("HTTP/1.1 204 No Content\r\ncontent-length: 9\r\n\r\n").unwrap().unwrap();
        assert_eq!(none.framing, Framing::Length(0));
        let mut buffer = BytesMut::from("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n");
        let to_head = AnswerHead::take(&mut buffer, &Method::HEAD).unwrap().unwrap();
        assert_eq!(to_head.framing, Framing::Length(0));
    }

    #[test]
    fn a_connection_is_kept_only_where_both_sides_agree() {
        assert!(head("content-length: 1\r\n").reusable);
        assert!(!head("content-length: 1\r\nConnection: foo, Close\r\n").reusable);
        assert!(!head("content-length: 1\r\ntransfer-encoding: chunked\r\n").reusable);
        assert!(!head("x: y\r\n").reusable);
        assert!(!take("HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\n").unwrap().unwrap().reusable);
    }

    #[test]
    fn interim_answers_are_passed_over() {
        let mut buffer =
            BytesMut::from("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 418 Teapot\r\ncontent-length: 2\r\n\r\nok");
        let head = AnswerHead::take(&mut buffer, &Method::POST).unwrap().unwrap();
        assert_eq!(head.status, 418);
        assert_eq!(head.reason.unwrap().as_bytes(), b"Teapot");
        assert_eq!(buffer, "ok");
    }

    #[test]
    fn a_contradictory_or_malformed_head_is_refused() {
        for text in [
            "SMTP ready\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: +1\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "HTTP/1.1 200 OK\r\nbad header: x\r\n\r\n",
        ] {
            assert!(matches!(take(text), Err(HttpError::Head(_))), "{text}");
        }
        let many = (0..200).map(|i| format!("h{i}: x\r\n")).collect::<String>();
        assert!(take(&format!("HTTP/1.1 200 OK\r\n{many}\r\n")).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let wire = [b"HTTP/1.1 200 OK\r\n".as_slice(), &bytes, b"\r\n\r\n"].concat();
            let _ = AnswerHead::take(&mut BytesMut::from(&wire[..]), &Method::POST);
        }
    }
}
