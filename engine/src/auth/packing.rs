//! Rights as a value for another process. Must not judge them.

use crate::auth::grant::{Rights, Source};
use crate::feed::topic::Target;
use crate::wire::packed::{Packed, PackedError, Packer, Unpacker};

impl Packed for Rights {
    fn pack(&self, out: &mut Packer) {
        out.bytes(self.subject.as_bytes());
        out.u8((self.source == Source::Settings).into());
        out.list(&self.subscribe, Target::pack);
        out.list(&self.publish, Target::pack);
        out.u8(self.admin.into());
        out.u64(self.publishes_per_s.into());
        out.option(self.expires_ns.as_ref(), |at, out| out.u64(*at));
    }

    fn unpack(input: &mut Unpacker<'_>) -> Result<Self, PackedError> {
        Ok(Self {
            subject: input.text()?.to_owned(),
            source: if input.flag()? { Source::Settings } else { Source::Claim },
            subscribe: input.list(Target::unpack)?,
            publish: input.list(Target::unpack)?,
            admin: input.flag()?,
            publishes_per_s: input.number()?,
            expires_ns: input.option(Unpacker::u64)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_come_out_as_they_were_and_only_whole() {
        let rights = Rights {
            subject: "edge-7".to_owned(),
            source: Source::Settings,
            subscribe: vec!["pmu/#".parse().unwrap()],
            publish: vec!["pmu/1001".parse().unwrap(), "alarms".parse().unwrap()],
            admin: true,
            publishes_per_s: 60,
            expires_ns: Some(7),
        };
        let packed = rights.packed();
        assert_eq!(Rights::unpacked(&packed), Ok(rights));
        for end in 0..packed.len() {
            assert!(Rights::unpacked(&packed[..end]).is_err());
        }
    }
}
