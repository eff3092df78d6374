"""A run folder as one HTML file that opens anywhere, offline.

```
from rootspace.report import write_report

write_report("runs/dejavu")  # writes runs/dejavu/report.html
```
"""

from rootspace.report._document import document as document
from rootspace.report._page import write_report as write_report
from rootspace.report._text import escape as escape
