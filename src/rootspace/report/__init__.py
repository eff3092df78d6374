"""A run folder as one HTML file that opens anywhere, offline.

```
from rootspace.report import write_report

write_report("runs/dejavu")  # writes runs/dejavu/report.html
```
"""

from rootspace.report.page import document as document
from rootspace.report.page import write_report as write_report
from rootspace.report.text import escape as escape
