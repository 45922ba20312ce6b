"""The certificate by which a server speaks TLS, looked at before anybody connects."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from pusherable.exceptions import PusherableError


class UnusableCertificate(PusherableError):
    """The files are missing, are no certificate and key, or do not belong together."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """Files in PEM form; without a ``key``, it is in the file of the certificate too.

    Making one raises ``UnusableCertificate``, saying why.
    """

    cert: Path
    key: Path | None = None

    def __post_init__(self) -> None:
        try:
            self._load()
        except ssl.SSLError as error:
            raise UnusableCertificate(self._explain(error)) from error
        except OSError as error:
            raise UnusableCertificate(f"{error.filename}: {error.strerror}.") from error

    def _load(self) -> None:
        for path in filter(None, (self.cert, self.key)):
            # OpenSSL does not tell which of the files it cannot open.
            path.open("rb").close()
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.cert, self.key, password=self._refuse_password)

    def _refuse_password(self) -> str:
        # OpenSSL would ask at the terminal, and again after each reload.
        raise UnusableCertificate(f"{self.key or self.cert}: the key is under a password. Give one that is not.")

    def _explain(self, error: ssl.SSLError) -> str:
        if error.reason == "KEY_VALUES_MISMATCH":
            return f"The key in {self.key or self.cert} is not that of the certificate in {self.cert}."
        if self.key is None:
            return f"{self.cert}: this is no certificate with its key, in PEM form. Give the key by --key."
        return f"{self.cert} and {self.key}: these are no certificate and its key, in PEM form."
