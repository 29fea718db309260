//! Which CPU this is: the hot loops are compiled twice, for any x86-64 and for x86-64-v3 (AVX2, BMI2; from 2013 on).

/// Has the CPU the instructions that `#[target_feature(enable = "avx2,bmi1,bmi2,movbe")]` compiles for?
#[cfg(target_arch = "x86_64")]
#[inline]
pub(super) fn is_v3() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("movbe")
}
