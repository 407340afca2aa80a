module fyne.io/systray

go 1.19
