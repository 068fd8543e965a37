use entrepot_access::Proof;
use http::HeaderMap;
pub(crate) fn proof(_headers: &HeaderMap) -> Result<Proof, ()> {
    Ok(Proof::None)
}
