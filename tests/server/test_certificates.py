import pytest

from pusherable.server.certificates import Certificate, UnusableCertificate
from tests.certificates import make_certificate


def refusal(*paths):
    with pytest.raises(UnusableCertificate) as caught:
        Certificate(*paths)
    return str(caught.value)


class TestCertificate:
    def test_a_certificate_and_its_key_are_good(self, certificate):
        made = Certificate(certificate.cert, certificate.key)
        assert (made.cert, made.key) == (certificate.cert, certificate.key)

    def test_both_may_be_in_one_file(self, certificate, tmp_path):
        both = tmp_path / "both.pem"
        both.write_bytes(certificate.cert.read_bytes() + certificate.key.read_bytes())
        assert Certificate(both).key is None

    def test_a_file_that_is_missing_is_named(self, certificate, tmp_path):
        missing = tmp_path / "missing.pem"
        assert refusal(missing, certificate.key) == f"{missing}: No such file or directory."
        assert refusal(certificate.cert, missing) == f"{missing}: No such file or directory."

    def test_a_directory_is_no_certificate(self, tmp_path):
        assert refusal(tmp_path) == f"{tmp_path}: Is a directory."

    def test_a_certificate_without_its_key_is_not_enough(self, certificate):
        assert refusal(certificate.cert) == (
            f"{certificate.cert}: this is no certificate with its key, in PEM form. Give the key by --key."
        )

    def test_something_else_is_no_key(self, certificate, tmp_path):
        nonsense = tmp_path / "nonsense.pem"
        nonsense.write_text("nonsense")
        assert refusal(certificate.cert, nonsense) == (
            f"{certificate.cert} and {nonsense}: these are no certificate and its key, in PEM form."
        )

    def test_another_certificate_s_key_does_not_belong_to_it(self, certificate, tmp_path):
        other = make_certificate(tmp_path)
        assert refusal(certificate.cert, other.key) == (
            f"The key in {other.key} is not that of the certificate in {certificate.cert}."
        )

    def test_nobody_is_asked_for_a_password(self, certificate):
        assert refusal(certificate.cert, certificate.locked_key) == (
            f"{certificate.locked_key}: the key is under a password. Give one that is not."
        )
